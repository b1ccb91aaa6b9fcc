//! Writing a layer: parts that are uploaded while the next is gathered, and the index at the end.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{Error, LayerDescriptor, LayerIndex, LayerReader, LayerWriter, Result};

use crate::bucket::Object;
use crate::buffers::PartBuffer;
use crate::store::Store;
use crate::upload::{Upload, unfinished};

/// A layer being written.
#[derive(Debug)]
pub(crate) struct S3Writer {
    store: Arc<Store>,
    layer: LayerDescriptor,
    /// Taken while a write or the commit runs: when that fails or is cancelled, the writer has nothing left to go on with.
    fill: Option<Fill>,
}

/// What has been written. Dropping it leaves nothing of it in the bucket.
#[derive(Debug)]
struct Fill {
    store: Arc<Store>,
    layer: LayerDescriptor,
    started: Instant,
    written: u64,
    /// Sent once more bytes follow: a layer of one part is no upload of parts.
    gathered: Option<PartBuffer>,
    upload: Option<Upload>,
}

impl S3Writer {
    pub(crate) fn new(store: Arc<Store>, layer: LayerDescriptor) -> Self {
        let fill = Fill {
            store: Arc::clone(&store),
            layer: layer.clone(),
            started: Instant::now(),
            written: 0,
            gathered: None,
            upload: None,
        };
        Self {
            store,
            layer,
            fill: Some(fill),
        }
    }

    fn take_fill(&mut self) -> Result<Fill> {
        let spent =
            || Error::unavailable("an earlier write failed or was cancelled, so nothing can follow it");
        self.fill.take().ok_or_else(spent)
    }
}

#[async_trait]
impl LayerWriter for S3Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let written = async {
            let mut fill = self.take_fill()?;
            fill.write(bytes).await?;
            Ok(fill)
        };
        let written = written.await;
        self.fill = Some(written.map_err(self.store.place("write", &self.layer.digest))?);
        Ok(())
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        None
    }

    /// Runs to its end even when the future is dropped: a commit is not half done.
    async fn commit(mut self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        let index = index.clone();
        let committed = async {
            let commit = self.take_fill()?.commit(index);
            tokio::spawn(commit)
                .await
                .unwrap_or_else(|error| Err(unfinished(error)))
        };
        let committed = committed.await;
        committed.map_err(self.store.place("commit", &self.layer.digest))
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let Some(upload) = self.fill.take().and_then(|fill| fill.upload) else {
            return Ok(());
        };
        let aborted = upload.abort().await;
        aborted.map_err(self.store.place("abort", &self.layer.digest))
    }
}

impl Fill {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        let end = self.written.saturating_add(bytes.len() as u64);
        let max = self.store.bucket.config.max_layer_bytes;
        if end > max {
            return Err(Error::permanent(format!(
                "the layer is longer than `max_layer_bytes`, {max}: raise that to share it"
            )));
        }
        while !bytes.is_empty() {
            if let Some(full) = self.gathered.take_if(|part| part.is_full()) {
                self.send(full).await?;
            }
            let part = match &mut self.gathered {
                Some(part) => part,
                none => none.insert(
                    self.store
                        .buffers
                        .acquire(self.store.bucket.config.timeout)
                        .await?,
                ),
            };
            part.take_from(&mut bytes);
        }
        self.written = end;
        Ok(())
    }

    async fn send(&mut self, part: PartBuffer) -> Result<()> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => {
                let key = self.store.bucket.keys.layer(&self.layer.digest);
                none.insert(Upload::begin(Arc::clone(&self.store.bucket), key).await?)
            }
        };
        upload.send(part)
    }

    async fn commit(self, index: LayerIndex) -> Result<Arc<dyn LayerReader>> {
        if *index.digest() != self.layer.digest || index.len() != self.written {
            return Err(Error::corrupt("the index does not describe what was written"));
        }
        let (store, started) = (Arc::clone(&self.store), self.started);
        let layer = self.layer.clone().with_diff_id(*index.diff_id());
        // Who has committed meanwhile has readers, whose object would be replaced under them.
        if let Ok(Some(reader)) = store.find(&layer).await {
            return Ok(reader);
        }
        let object = match self.store_object(&index).await {
            Ok(object) => object,
            Err(error) => return store.settle(&layer, false).await.ok_or(error),
        };
        let sealed = store.bucket.config.seal.encode(&index);
        let index_key = store.bucket.keys.index(index.digest());
        if let Err(error) = store.bucket.put(&index_key, sealed).await {
            return store.settle(&layer, true).await.ok_or(error);
        }
        tracing::info!(
            digest = %index.digest(),
            tier = %store.name(),
            bytes = index.len(),
            duration = started.elapsed().as_secs_f64(),
            "cached decompressed layer to remote cache"
        );
        Ok(store.reader(index, object))
    }

    async fn store_object(mut self, index: &LayerIndex) -> Result<Object> {
        let bucket = Arc::clone(&self.store.bucket);
        let key = bucket.keys.layer(index.digest());
        let last = self.gathered.take();
        match self.upload.take() {
            Some(mut upload) => {
                if let Some(last) = last {
                    upload.send(last)?;
                }
                upload.complete().await?;
            }
            None => {
                let bytes = last.map(PartBuffer::freeze).unwrap_or_default();
                bucket.put(&key, bytes).await?;
            }
        }
        // What was said to be stored is looked at before the index vouches for it.
        let object = bucket.head(&key).await?;
        let object = object.filter(|object| object.len == index.len());
        object.ok_or_else(|| Error::unavailable("the server has not stored what it was sent"))
    }
}

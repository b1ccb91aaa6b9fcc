//! What the tier and its writers share.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cache_core::chunked::{ChunkedReader, RecentChunks};
use cache_core::{Digest, Error, LayerDescriptor, LayerIndex, LayerReader, Result};

use crate::S3Config;
use crate::bucket::{Bucket, Object};
use crate::buffers::PartBuffers;
use crate::chunks::{PLAN, S3Chunks};

/// Chunks that were read last, of all layers: 4 MiB.
const RECENT_CHUNKS: usize = 8;

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) buffers: PartBuffers,
    /// Whether abandoned uploads were looked for.
    pub(crate) swept: AtomicBool,
    name: Arc<str>,
    recent: Arc<RecentChunks>,
}

impl Store {
    pub(crate) fn new(config: S3Config) -> Self {
        Self {
            name: config.name.as_str().into(),
            bucket: Arc::new(Bucket::new(config)),
            buffers: PartBuffers::new(),
            swept: AtomicBool::new(false),
            recent: Arc::new(RecentChunks::new(RECENT_CHUNKS)),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Names the tier, the operation and the layer in an error.
    pub(crate) fn place(&self, operation: &'static str, digest: &Digest) -> impl Fn(Error) -> Error {
        move |error| error.at(&self.name, operation).of_layer(digest)
    }

    /// The layer, if all of it is there.
    pub(crate) async fn find(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let keys = &self.bucket.keys;
        let (index_key, layer_key) = (keys.index(&layer.digest), keys.layer(&layer.digest));
        let mut index = pin!(self.bucket.index(&index_key));
        let mut head = pin!(self.bucket.head(&layer_key));
        let mut object = None;
        // The index decides, and its answer alone says what is wrong: a HEAD request has none to a missing bucket but "404".
        let encoded = loop {
            tokio::select! {
                encoded = &mut index => break encoded?,
                found = &mut head, if object.is_none() => object = Some(found),
            }
        };
        let Some(encoded) = encoded else { return Ok(None) };
        let object = match object {
            Some(object) => object?,
            None => head.await?,
        };
        let Some(object) = object else { return Ok(None) };
        let index = self.bucket.config.seal.admit(&encoded, layer)?;
        if object.len != index.len() {
            return Err(Error::corrupt(format!(
                "the layer has {} bytes, and {} by its index",
                object.len,
                index.len()
            )));
        }
        Ok(Some(self.reader(index, object)))
    }

    pub(crate) fn reader(&self, index: LayerIndex, object: Object) -> Arc<dyn LayerReader> {
        let key = self.bucket.keys.layer(index.digest());
        let chunks = S3Chunks::new(Arc::clone(&self.bucket), key, object);
        let (name, recent) = (Arc::clone(&self.name), Arc::clone(&self.recent));
        Arc::new(ChunkedReader::new(chunks, index, name, PLAN, recent))
    }

    /// After a commit that failed, which may have gone through all the same: the layer if it is there. Otherwise the object goes
    /// if this commit has `stored` it; if not, it may be that of another writer, who is about to put the index.
    pub(crate) async fn settle(&self, layer: &LayerDescriptor, stored: bool) -> Option<Arc<dyn LayerReader>> {
        let found = self.find(layer).await;
        // What cannot be told stays: the next writer replaces it.
        if stored && matches!(found, Ok(None)) {
            let key = self.bucket.keys.layer(&layer.digest);
            if let Err(error) = self.bucket.delete(&key).await {
                tracing::debug!(%error, "could not remove an object that has no index");
            }
        }
        found.ok().flatten()
    }

    /// Removes the index and then the object; whether there was an index.
    pub(crate) async fn remove(&self, digest: &Digest) -> Result<bool> {
        let keys = &self.bucket.keys;
        let index = keys.index(digest);
        let there = self.bucket.head(&index).await?.is_some();
        self.bucket.delete(&index).await?;
        self.bucket.delete(&keys.layer(digest)).await?;
        Ok(there)
    }
}

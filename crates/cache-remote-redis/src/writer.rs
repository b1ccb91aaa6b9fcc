//! Writing a layer: cutting it into chunks, and the commit.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cache_core::index::CHUNK_LEN;
use cache_core::{Digest, Error, LayerIndex, LayerReader, LayerWriter, Result};

use crate::store::Store;
use crate::upload::Upload;

const CHUNK: usize = CHUNK_LEN as usize;

/// A layer being written.
#[derive(Debug)]
pub(crate) struct RedisWriter {
    store: Arc<Store>,
    digest: Digest,
    /// Taken while a write or the commit runs: when that is cancelled or fails, it is dropped where it runs, and the writer
    /// has nothing left to go on with.
    fill: Option<Fill>,
}

#[derive(Debug)]
struct Fill {
    upload: Upload,
    /// The beginning of the next chunk.
    rest: BytesMut,
    written: u64,
}

impl RedisWriter {
    pub(crate) fn new(store: Arc<Store>, digest: Digest) -> Self {
        let fill = Fill {
            upload: Upload::new(Arc::clone(&store), digest),
            rest: BytesMut::new(),
            written: 0,
        };
        Self {
            store,
            digest,
            fill: Some(fill),
        }
    }

    fn take_fill(&mut self) -> Result<Fill> {
        let spent =
            || Error::unavailable("an earlier write failed or was cancelled, so nothing can follow it");
        self.fill.take().ok_or_else(spent)
    }

    async fn append(&mut self, bytes: Bytes) -> Result<()> {
        let mut fill = self.take_fill()?;
        let written = fill.written.saturating_add(bytes.len() as u64);
        self.store.check_len(written)?;
        fill.append(bytes).await?;
        fill.written = written;
        self.fill = Some(fill);
        Ok(())
    }

    async fn finish(&mut self, index: &LayerIndex) -> Result<()> {
        let mut fill = self.take_fill()?;
        if index.digest() != &self.digest || index.len() != fill.written {
            return Err(Error::invalid("the index is not that of what was written"));
        }
        if !fill.rest.is_empty() {
            fill.upload.send(fill.rest.freeze()).await?;
        }
        fill.upload.commit(index).await
    }
}

impl Fill {
    async fn append(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            if self.rest.is_empty() && bytes.len() >= CHUNK {
                self.upload.send(bytes.split_to(CHUNK)).await?;
                continue;
            }
            self.rest.reserve(CHUNK - self.rest.len());
            let part = bytes.split_to(bytes.len().min(CHUNK - self.rest.len()));
            self.rest.extend_from_slice(&part);
            if self.rest.len() == CHUNK {
                self.upload.send(self.rest.split().freeze()).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl LayerWriter for RedisWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let written = self.append(bytes).await;
        written.map_err(|error| self.store.place(error, "write", &self.digest))
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        None
    }

    async fn commit(mut self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        let committed = self.finish(index).await;
        committed.map_err(|error| self.store.place(error, "commit", &self.digest))?;
        tracing::info!(
            digest = %self.digest, tier = %self.store.name, bytes = index.len(),
            "cached decompressed layer to remote cache"
        );
        Ok(self.store.reader(index.clone()))
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let Some(fill) = self.fill.take() else {
            return Ok(());
        };
        let aborted = fill.upload.abort().await;
        aborted.map_err(|error| self.store.place(error, "abort", &self.digest))
    }
}

//! A layer that exists only as a blob: every read inflates it.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;

use super::blob::BlobReader;
use super::limits::Shared;
use super::pipeline::inflate;
use crate::verify::{skip, verify};
use crate::{ByteStream, LayerDescriptor, LayerReader, Result};

#[derive(Debug)]
pub(super) struct InflateReader {
    shared: Arc<Shared>,
    origin: Arc<str>,
    layer: LayerDescriptor,
    blob: Arc<dyn BlobReader>,
}

impl InflateReader {
    pub(super) fn new(
        shared: Arc<Shared>,
        origin: &str,
        layer: LayerDescriptor,
        blob: Arc<dyn BlobReader>,
    ) -> Self {
        Self {
            shared,
            origin: origin.into(),
            layer,
            blob,
        }
    }

    fn inflate(&self) -> ByteStream {
        let (origin, digest) = (Arc::clone(&self.origin), self.layer.digest);
        inflate(
            Arc::clone(&self.shared),
            self.layer.clone(),
            Arc::clone(&self.blob),
        )
        .map(move |piece| piece.map_err(|error| error.at(&origin, "read").of_layer(&digest)))
        .boxed()
    }
}

#[async_trait]
impl LayerReader for InflateReader {
    fn len(&self) -> Option<u64> {
        None
    }

    fn random_access(&self) -> bool {
        false
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut pieces = skip(verify(self.inflate(), &self.origin, &self.layer), offset);
        let mut filled = 0;
        // To the very end, not only until the buffer is full: the bytes are right only if all of them are.
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            let take = piece.len().min(buf.len() - filled);
            buf[filled..filled + take].copy_from_slice(&piece[..take]);
            filled += take;
        }
        Ok(filled)
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        skip(self.inflate(), offset)
    }
}

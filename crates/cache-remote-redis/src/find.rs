//! Looking for a layer.

use std::sync::Arc;

use bytes::Bytes;
use cache_core::{ChunkedReader, Digest, Error, LayerDescriptor, LayerIndex, LayerReader, Result};

use crate::chunks::{Chunks, PLAN};
use crate::keys;
use crate::tier::Store;

impl Store {
    /// Opens a layer; `None` when its index or any of its chunks is not there.
    pub(crate) async fn find(
        self: &Arc<Self>,
        layer: &LayerDescriptor,
    ) -> Result<Option<Arc<dyn LayerReader>>> {
        let Some(encoded) = self.encoded_index(&layer.digest).await? else {
            return Ok(None);
        };
        let index = self.config.seal.admit(&encoded, layer)?;
        Ok(self.is_complete(&index).await?.then(|| self.reader(index)))
    }

    /// What is stored as the layer's index, as far as an index can be long; `None` when there is none.
    pub(crate) async fn encoded_index(&self, digest: &Digest) -> Result<Option<Bytes>> {
        let mut request = redis::cmd("GETRANGE");
        // One byte more than the longest, so that what is too long is not taken for one.
        let last = LayerIndex::encoded_len(self.config.max_layer_bytes);
        request.arg(keys::index(digest)).arg(0).arg(last);
        let encoded: Bytes = self.connections.ask(request).await?;
        Ok((!encoded.is_empty()).then_some(encoded))
    }

    /// An index for which no image vouches: good for knowing what there is, and not for reading it.
    pub(crate) fn unclaimed(&self, encoded: &[u8], digest: &Digest) -> Result<LayerIndex> {
        if self.config.seal.is_keyed() {
            return self.config.seal.admit(encoded, &LayerDescriptor::new(*digest));
        }
        let index = LayerIndex::decode(encoded)?;
        if index.digest() != digest {
            return Err(Error::corrupt("the layer's index is that of another layer"));
        }
        Ok(index)
    }

    /// Whether every chunk is there.
    pub(crate) async fn is_complete(&self, index: &LayerIndex) -> Result<bool> {
        let chunks = index.chunks().len();
        Ok(self
            .connections
            .count_chunks("EXISTS", index.digest(), chunks)
            .await?
            == chunks)
    }

    /// A reader of the layer with this index, which is to be gone by.
    pub(crate) fn reader(self: &Arc<Self>, index: LayerIndex) -> Arc<dyn LayerReader> {
        let chunks = Chunks {
            store: Arc::clone(self),
            digest: *index.digest(),
        };
        let (tier, recent) = (Arc::clone(&self.name), Arc::clone(&self.recent));
        Arc::new(ChunkedReader::new(chunks, index, tier, PLAN, recent))
    }
}

//! Layers to try the laws with.

use bytes::Bytes;
use cache_core::index::{CHUNK_LEN, IndexBuilder};
use cache_core::{Digest, LayerDescriptor, LayerIndex};

/// Length of a chunk in bytes.
pub(super) const CHUNK: usize = CHUNK_LEN as usize;

/// A layer and all that is known of it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// How the layer is asked for: with its diff ID, which some tiers insist on.
    pub descriptor: LayerDescriptor,
    /// The layer.
    pub bytes: Bytes,
    /// What a writer of the layer commits it with.
    pub index: LayerIndex,
}

impl Sample {
    /// The layer with these bytes, as `descriptor` asks for it; without a diff ID, it is given one.
    pub fn new(descriptor: LayerDescriptor, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let mut builder = IndexBuilder::new(descriptor.digest.algorithm());
        builder.update(&bytes);
        let index = builder.finish(descriptor.digest);
        let diff_id = descriptor.diff_id.unwrap_or(*index.diff_id());
        Self {
            descriptor: descriptor.with_diff_id(diff_id),
            bytes,
            index,
        }
    }

    /// A layer of `len` bytes that nobody else has: stores are shared between tests.
    pub fn random(len: usize) -> Self {
        let mut bytes = vec![0; len];
        fastrand::fill(&mut bytes);
        Self::new(LayerDescriptor::new(random_digest()), bytes)
    }

    pub(super) fn digest(&self) -> &Digest {
        &self.descriptor.digest
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What a read at `offset` of `len` bytes has to return.
    pub(super) fn range(&self, offset: u64, len: usize) -> Bytes {
        let start = usize::try_from(offset).map_or(self.bytes.len(), |offset| offset.min(self.bytes.len()));
        let end = start.saturating_add(len).min(self.bytes.len());
        self.bytes.slice(start..end)
    }
}

/// A digest of nothing that anybody has.
pub(super) fn random_digest() -> Digest {
    let seed = (std::process::id(), fastrand::u128(..));
    Digest::sha256_of(format!("{seed:?}").as_bytes())
}

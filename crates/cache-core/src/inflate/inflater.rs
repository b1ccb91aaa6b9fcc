//! Makes layers of blobs, within limits that all origins of a process share.

use std::sync::Arc;

use crate::{BlobReader, LayerDescriptor, LayerReader};

/// Bounds on what inflating may cost.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InflateLimits {
    /// Longest layer in bytes; a blob that inflates to more is refused as a decompression bomb.
    pub max_layer_bytes: u64,
    /// How many blobs are inflated at once; each takes up to 128 MiB for a zstd window, typically below 4 MiB.
    pub max_concurrent: usize,
}

impl Default for InflateLimits {
    fn default() -> Self {
        Self { max_layer_bytes: 64 << 30, max_concurrent: 4 }
    }
}

/// Inflates blobs; clones share the limits and the counters.
#[derive(Clone, Debug)]
pub struct Inflater {}

impl Inflater {
    /// An inflater with these limits.
    pub fn new(_limits: InflateLimits) -> Self {
        Self {}
    }

    /// A reader of the layer in `blob`, which `origin` found: every stream and every read fetches and inflates the
    /// blob, and checks digest, size and, where known, diff ID.
    pub fn reader(
        &self,
        _origin: &str,
        _layer: &LayerDescriptor,
        _blob: Arc<dyn BlobReader>,
    ) -> Arc<dyn LayerReader> {
        unreachable!("being written")
    }
}

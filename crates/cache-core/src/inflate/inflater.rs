//! Makes layers of blobs, within limits that all origins of a process share.

use std::sync::Arc;

use super::blob::BlobReader;
use super::limits::{InflateLimits, Shared};
use super::reader::InflateReader;
use super::stats::InflateStats;
use crate::{LayerDescriptor, LayerReader};

/// Inflates blobs; clones share the limits and the counters.
#[derive(Clone, Debug)]
pub struct Inflater(Arc<Shared>);

impl Default for Inflater {
    fn default() -> Self {
        Self::new(InflateLimits::default())
    }
}

impl Inflater {
    /// An inflater with these limits.
    pub fn new(limits: InflateLimits) -> Self {
        Self(Arc::new(Shared::new(limits)))
    }

    /// What inflating has cost so far.
    pub fn stats(&self) -> &InflateStats {
        &self.0.stats
    }

    /// A reader of the layer in `blob`, which `origin` found.
    ///
    /// Every stream and every read fetches and inflates the whole blob: gzip with any number of members, zstd with any
    /// number of frames, or a plain tar, as its first bytes tell. Both check the digest and the size of the blob; a
    /// read checks the diff ID as well, where it is known, before it returns a byte. A stream leaves the diff ID to its
    /// consumer, since a fill hashes the layer anyway. A stream that is not polled gives its place
    /// up after [`max_idle`](InflateLimits::max_idle).
    ///
    /// Errors are [`Corrupt`](crate::ErrorKind::Corrupt) when the blob is not what the descriptor says or does not
    /// inflate, [`Permanent`](crate::ErrorKind::Permanent) beyond
    /// [`max_layer_bytes`](InflateLimits::max_layer_bytes), and else those of the blob's stream.
    pub fn reader(
        &self,
        origin: &str,
        layer: &LayerDescriptor,
        blob: Arc<dyn BlobReader>,
    ) -> Arc<dyn LayerReader> {
        Arc::new(InflateReader::new(
            Arc::clone(&self.0),
            origin,
            layer.clone(),
            blob,
        ))
    }
}

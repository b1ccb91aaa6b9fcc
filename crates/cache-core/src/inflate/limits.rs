//! Bounds on what inflating may cost, and what all inflates under the same bounds share.

use std::sync::Arc;
use std::time::Duration;

use super::stats::InflateStats;
use crate::runtime::Semaphore;

/// Bounds on what inflating may cost.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InflateLimits {
    /// Longest layer in bytes; a blob that inflates to more is refused as a decompression bomb. Default: 64 GiB.
    pub max_layer_bytes: u64,
    /// How many blobs are inflated at once; each takes up to 2.25 MiB of buffers and what its format asks for as a window, 32 KiB
    /// for gzip, and for zstd typically 2 to 8 MiB and at most 128 MiB. Default: 4.
    pub max_concurrent: usize,
    /// How long a stream may be left unread before it ends with
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and gives up its place: readers that do not read must not keep others
    /// out for ever. Default: one minute.
    pub max_idle: Duration,
    /// How long a stream may wait for a place before it ends with `Unavailable`. Default: one hour.
    pub max_queued: Duration,
}

impl Default for InflateLimits {
    fn default() -> Self {
        Self {
            max_layer_bytes: 64 << 30,
            max_concurrent: 4,
            max_idle: Duration::from_secs(60),
            max_queued: Duration::from_secs(3600),
        }
    }
}

impl InflateLimits {
    /// The same with another longest layer, in bytes.
    #[must_use]
    pub fn with_max_layer_bytes(mut self, max_layer_bytes: u64) -> Self {
        self.max_layer_bytes = max_layer_bytes;
        self
    }

    /// The same with another number of inflates at once; 0 counts as 1.
    #[must_use]
    pub fn with_max_concurrent(mut self, max_concurrent: usize) -> Self {
        self.max_concurrent = max_concurrent;
        self
    }

    /// The same with another bound on leaving a stream unread.
    #[must_use]
    pub fn with_max_idle(mut self, max_idle: Duration) -> Self {
        self.max_idle = max_idle;
        self
    }

    /// The same with another bound on waiting for a place.
    #[must_use]
    pub fn with_max_queued(mut self, max_queued: Duration) -> Self {
        self.max_queued = max_queued;
        self
    }
}

/// The limits of an [`Inflater`](super::Inflater), its places and its counters, which all that it makes share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: InflateLimits,
    /// A place is taken for each inflate under way.
    pub(super) permits: Arc<Semaphore>,
    pub(super) stats: InflateStats,
}

impl Shared {
    pub(super) fn new(limits: InflateLimits) -> Self {
        let permits = limits.max_concurrent.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            limits,
            permits: Arc::new(Semaphore::new(permits)),
            stats: InflateStats::new(),
        }
    }
}

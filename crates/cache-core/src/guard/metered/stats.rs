//! Counters of one source, for whoever asks the source itself.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::Outcome;

/// Counters of one source or tier.
#[derive(Debug, Default)]
pub struct SourceStats {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    unavailable: AtomicU64,
    corrupt: AtomicU64,
    pub(super) read_bytes: AtomicU64,
    pub(super) filled_layers: AtomicU64,
    pub(super) filled_bytes: AtomicU64,
}

/// [`SourceStats`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceCounts {
    /// Layers opened.
    pub hits: u64,
    /// Layers known to be absent.
    pub misses: u64,
    /// Operations that failed without telling anything about the layer.
    pub unavailable: u64,
    /// Operations that found wrong bytes, or others than the image claims.
    pub corrupt: u64,
    /// Bytes read, by reads and by streams.
    pub read_bytes: u64,
    /// Layers committed.
    pub filled_layers: u64,
    /// Bytes of the layers committed.
    pub filled_bytes: u64,
}

impl SourceStats {
    /// All counters now. They are read one after another: a counter may be ahead of another by what is under way.
    pub fn counts(&self) -> SourceCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SourceCounts {
            hits: get(&self.hits),
            misses: get(&self.misses),
            unavailable: get(&self.unavailable),
            corrupt: get(&self.corrupt),
            read_bytes: get(&self.read_bytes),
            filled_layers: get(&self.filled_layers),
            filled_bytes: get(&self.filled_bytes),
        }
    }

    pub(super) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    /// Counts what came of a request that failed, if it says anything about the source.
    pub(super) fn failed(&self, outcome: Outcome) {
        match outcome {
            Outcome::Unavailable => Self::add(&self.unavailable, 1),
            Outcome::Corrupt => Self::add(&self.corrupt, 1),
            _ => {}
        }
    }
}

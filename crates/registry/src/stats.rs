//! What an origin cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cache_core::guard::Operation;
use cache_core::metrics::{OPERATION, ORIGIN_BYTES, ORIGIN_REQUESTS, RETRIES, TIER};
use metrics::Counter;

/// Counters of an origin; clones share them. They count for the [metrics](cache_core::metrics) as well.
#[derive(Clone, Debug)]
pub struct OriginStats(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    requests: AtomicU64,
    bytes: AtomicU64,
    meters: Meters,
}

#[derive(Debug)]
struct Meters {
    requests: Counter,
    bytes: Counter,
    repeated_opens: Counter,
    repeated_reads: Counter,
}

impl OriginStats {
    /// Counters of an origin of this name.
    pub(crate) fn new(tier: &str) -> Self {
        let of_tier = [(TIER, tier)];
        let repeated = |operation: Operation| RETRIES.counter(&[(TIER, tier), (OPERATION, operation.name())]);
        Self(Arc::new(Counters {
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            meters: Meters {
                requests: ORIGIN_REQUESTS.counter(&of_tier),
                bytes: ORIGIN_BYTES.counter(&of_tier),
                repeated_opens: repeated(Operation::Open),
                repeated_reads: repeated(Operation::Read),
            },
        }))
    }

    /// Requests sent, those for tokens and repeated ones included. For a layout or an archive: blobs and documents
    /// read.
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Relaxed)
    }

    /// Bytes of manifests, configs and compressed blobs received. Bytes received twice count twice.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Relaxed)
    }

    pub(crate) fn count_request(&self) {
        self.0.requests.fetch_add(1, Relaxed);
        self.0.meters.requests.increment(1);
    }

    pub(crate) fn count_bytes(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes as u64, Relaxed);
        self.0.meters.bytes.increment(bytes as u64);
    }

    /// A registry is asked again for a document, or whether it has a blob.
    pub(crate) fn count_repeated_open(&self) {
        self.0.meters.repeated_opens.increment(1);
    }

    /// A blob that was interrupted goes on.
    pub(crate) fn count_repeated_read(&self) {
        self.0.meters.repeated_reads.increment(1);
    }
}

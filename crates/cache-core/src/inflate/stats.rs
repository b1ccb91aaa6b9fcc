//! What inflating has cost so far.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::Digest;
use crate::metrics::{INFLATE_SECONDS, INFLATED_BYTES, INFLATES};

/// Counters of an [`Inflater`](crate::inflate::Inflater).
#[derive(Debug)]
pub struct InflateStats {
    inflates: AtomicU64,
    nanoseconds: AtomicU64,
    bytes: AtomicU64,
    /// The same for the metrics.
    meters: Meters,
}

#[derive(Debug)]
struct Meters {
    inflates: Counter,
    bytes: Counter,
    seconds: Histogram,
}

impl InflateStats {
    pub(super) fn new() -> Self {
        Self {
            inflates: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            meters: Meters {
                inflates: INFLATES.counter(&[]),
                bytes: INFLATED_BYTES.counter(&[]),
                seconds: INFLATE_SECONDS.histogram(&[]),
            },
        }
    }

    /// How many blobs it has begun to inflate.
    pub fn inflates(&self) -> u64 {
        self.inflates.load(Ordering::Relaxed)
    }

    /// Time the decoders were at work, summed over all threads, without waiting for input or output.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    /// Bytes that came out.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self, digest: &Digest) -> Inflate<'_> {
        self.inflates.fetch_add(1, Ordering::Relaxed);
        self.meters.inflates.increment(1);
        Inflate {
            stats: self,
            digest: *digest,
            bytes: 0,
            busy: Duration::ZERO,
        }
    }
}

/// One inflate; reports itself when it ends, however it ends.
pub(super) struct Inflate<'a> {
    stats: &'a InflateStats,
    digest: Digest,
    bytes: u64,
    busy: Duration,
}

impl Inflate<'_> {
    pub(super) fn record(&mut self, bytes: u64, busy: Duration) {
        self.bytes += bytes;
        self.busy += busy;
        self.stats.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.stats.meters.bytes.increment(bytes);
        let nanoseconds = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        self.stats.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Inflate<'_> {
    fn drop(&mut self) {
        let duration = self.busy.as_secs_f64();
        self.stats.meters.seconds.record(duration);
        tracing::info!(digest = %self.digest, bytes = self.bytes, duration, "Inflate CPU recorded");
    }
}

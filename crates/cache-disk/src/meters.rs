//! What the metrics tell of a disk tier.

use cache_core::metrics::{
    DISK_BYTES, DISK_FREE_BYTES, DISK_LAYERS, DISK_MAX_BYTES, DISK_MIN_FREE_BYTES, EVICTED_BYTES, EVICTIONS,
    TIER,
};
use metrics::Counter;

use crate::DiskConfig;
use crate::tier::Store;
use crate::usage::DiskUsage;

/// The metrics of one tier.
#[derive(Debug)]
pub(crate) struct Meters {
    evictions: Counter,
    evicted_bytes: Counter,
}

impl Meters {
    pub(crate) fn new(config: &DiskConfig) -> Self {
        let of_tier = [(TIER, config.name.as_str())];
        let max_bytes = config.max_bytes.map_or(f64::INFINITY, |bytes| bytes as f64);
        DISK_MAX_BYTES.gauge(&of_tier).set(max_bytes);
        DISK_MIN_FREE_BYTES
            .gauge(&of_tier)
            .set(config.min_free_bytes as f64);
        Self {
            evictions: EVICTIONS.counter(&of_tier),
            evicted_bytes: EVICTED_BYTES.counter(&of_tier),
        }
    }

    pub(crate) fn evicted(&self, bytes: u64) {
        self.evictions.increment(1);
        self.evicted_bytes.increment(bytes);
    }
}

impl Store {
    /// Tells what a look at the directory has found; `None` where it failed. The gauges are not there before: a 0 that nobody has looked
    /// for would say that the disk is full.
    pub(crate) fn tell_usage(&self, usage: Option<&DiskUsage>) {
        let of_tier = [(TIER, &*self.name)];
        let value = |of: fn(&DiskUsage) -> u64| usage.map_or(f64::NAN, |usage| of(usage) as f64);
        DISK_LAYERS.gauge(&of_tier).set(value(|usage| usage.layers));
        DISK_BYTES.gauge(&of_tier).set(value(|usage| usage.bytes));
        DISK_FREE_BYTES
            .gauge(&of_tier)
            .set(value(|usage| usage.free_bytes));
    }
}

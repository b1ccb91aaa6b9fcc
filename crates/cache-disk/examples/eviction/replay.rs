//! A cache that keeps the times that the tier keeps, and evicts in one order or the other.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::policy::{Facts, order};
use crate::trace::{DAY, Trace};

/// How exact the time of last use is, in seconds.
const TOUCH_INTERVAL: u64 = 60;
/// What is not counted: the cache fills.
const FIRST: u64 = 2 * DAY;

/// In which order layers are evicted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    LastUse,
    /// That of the tier.
    Kept,
}

/// Parts of what was opened that were found in the cache. What a scan opens is not counted: nobody waits for it, and it is to be
/// missed.
#[derive(Clone, Copy)]
pub(crate) struct Ratios {
    pub(crate) opens: f64,
    pub(crate) bytes: f64,
}

/// When a layer was filled, and when it was last used, in seconds.
struct Times {
    filled: u64,
    used: u64,
}

pub(crate) fn replay(trace: &Trace, max_bytes: u64, by: Order) -> Ratios {
    let mut cache = HashMap::<usize, Times>::new();
    let mut bytes = 0;
    let (mut opened, mut opened_bytes, mut hits, mut hit_bytes) = (0u64, 0u64, 0u64, 0u64);
    for open in &trace.opens {
        let (now, size) = (open.at, trace.sizes[open.layer]);
        let counts = now >= FIRST && !open.scan;
        opened += u64::from(counts);
        opened_bytes += size * u64::from(counts);
        if let Some(times) = cache.get_mut(&open.layer) {
            if now - times.used >= TOUCH_INTERVAL {
                times.used = now;
            }
            hits += u64::from(counts);
            hit_bytes += size * u64::from(counts);
            continue;
        }
        if size > max_bytes {
            continue;
        }
        if bytes + size > max_bytes {
            for layer in eviction_order(&cache, &trace.sizes, by) {
                if bytes + size <= max_bytes {
                    break;
                }
                cache.remove(&layer);
                bytes -= trace.sizes[layer];
            }
        }
        let (filled, used) = (now, now);
        cache.insert(open.layer, Times { filled, used });
        bytes += size;
    }
    Ratios {
        opens: hits as f64 / opened as f64,
        bytes: hit_bytes as f64 / opened_bytes as f64,
    }
}

fn eviction_order(cache: &HashMap<usize, Times>, sizes: &[u64], by: Order) -> Vec<usize> {
    if by == Order::LastUse {
        let mut layers: Vec<_> = cache.iter().map(|(layer, times)| (times.used, *layer)).collect();
        layers.sort_unstable();
        return layers.into_iter().map(|(_, layer)| layer).collect();
    }
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let facts = cache.iter().map(|(layer, times)| {
        let facts = Facts {
            bytes: sizes[*layer],
            used: at(times.used),
            filled: Some(at(times.filled)),
            open: false,
            pinned: false,
        };
        (*layer, facts)
    });
    order(facts).into_iter().map(|(layer, ..)| layer).collect()
}

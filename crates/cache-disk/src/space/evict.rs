//! Eviction: which layers may go, and how they go.

use std::fs::TryLockError;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use cache_core::metrics::{EVICTED_BYTES, EVICTIONS, TIER};
use cache_core::{Digest, Result};
use metrics::Counter;

use crate::dir::handle::Handle;
use crate::dir::layout::{LAYER, file_name};
use crate::dir::lock::{Attempt, FileLock};
use crate::dir::remove::remove_files;
use crate::dir::scan::{Layers, scan};
use crate::images::records::Records;
use crate::space::policy::{Facts, Standing, order};
use crate::space::quarantine::Quarantine;

/// The purpose of an eviction: all the bytes that it needs, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Free space on the disk: layers that are open would free none.
    Disk,
    /// Room within `max_bytes`.
    Quota,
}

/// The outcome of an eviction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evicted {
    /// The layers, in the order in which they went, with their bytes.
    pub(crate) layers: Vec<(Digest, u64)>,
    /// Bytes of the layers, and of what was in quarantine.
    pub(crate) bytes: u64,
}

impl Evicted {
    /// Asks the candidates to go, one after the other, until `needed` bytes are gone.
    pub(crate) fn of(candidates: &[Candidate], needed: u64, goes: impl Fn(&Candidate) -> bool) -> Self {
        let mut evicted = Self::default();
        for candidate in candidates {
            if evicted.bytes >= needed {
                break;
            }
            if goes(candidate) {
                evicted.layers.push((candidate.digest, candidate.facts.bytes));
                evicted.bytes += candidate.facts.bytes;
            }
        }
        evicted
    }
}

/// A layer that may be evicted.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) digest: Digest,
    pub(crate) facts: Facts,
    pub(crate) standing: Standing,
    companions: Vec<String>,
}

/// Evicts layers, and counts them.
#[derive(Debug)]
pub(crate) struct Evictor {
    records: Arc<Records>,
    quarantine: Arc<Quarantine>,
    total: AtomicU64,
    evictions: Counter,
    evicted_bytes: Counter,
}

impl Evictor {
    /// Makes the evictor of the tier `tier`, as metrics name it.
    pub(crate) fn new(tier: &str, records: &Arc<Records>, quarantine: &Arc<Quarantine>) -> Self {
        let of_tier = [(TIER, tier)];
        Self {
            records: Arc::clone(records),
            quarantine: Arc::clone(quarantine),
            total: AtomicU64::new(0),
            evictions: EVICTIONS.counter(&of_tier),
            evicted_bytes: EVICTED_BYTES.counter(&of_tier),
        }
    }

    /// Returns how many layers were evicted so far.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Puts layers that a scan has found into the order in which they are evicted. Blocks.
    pub(crate) fn candidates(&self, dir: &Handle, mut layers: Layers) -> Vec<Candidate> {
        let pinned = self.records.pinned_layers(dir);
        let facts: Vec<_> = layers
            .iter()
            .filter_map(|(digest, files)| {
                let facts = Facts {
                    bytes: files.bytes,
                    used: files.layer?.1,
                    filled: files.filled,
                    open: is_open(dir, digest),
                    pinned: pinned.contains(digest),
                };
                Some((*digest, facts))
            })
            .collect();
        let ordered = order(facts);
        let candidate = |(digest, facts, standing)| Candidate {
            digest,
            facts,
            standing,
            companions: layers.remove(&digest).unwrap_or_default().companions,
        };
        ordered.into_iter().map(candidate).collect()
    }

    /// Evicts until `needed` bytes are gone: first out of quarantine, and then layers other than
    /// `keep`. Blocks.
    pub(crate) fn evict(
        &self,
        dir: &Handle,
        keep: &Digest,
        needed: u64,
        purpose: Purpose,
    ) -> Result<Evicted> {
        if needed == 0 {
            return Ok(Evicted::default());
        }
        let mut candidates = self.candidates(dir, scan(dir)?);
        candidates.retain(|candidate| candidate.digest != *keep);
        if purpose == Purpose::Disk {
            candidates.retain(|candidate| !candidate.facts.open);
        }
        let evictable: u64 = candidates.iter().map(|candidate| candidate.facts.bytes).sum();
        if evictable + self.quarantine.total(dir).bytes < needed {
            return Ok(Evicted::default());
        }
        let released = self.quarantine.release(dir, needed).bytes;
        let mut evicted = self.evict_these(dir, &candidates, needed.saturating_sub(released));
        evicted.bytes += released;
        Ok(evicted)
    }

    /// Evicts these layers, one after the other, until `needed` bytes are gone, and passes over
    /// those that somebody fills or removes. Blocks.
    pub(crate) fn evict_these(&self, dir: &Handle, candidates: &[Candidate], needed: u64) -> Evicted {
        Evicted::of(candidates, needed, |candidate| self.evict_one(dir, candidate))
    }

    /// Evicts a layer, and tells whether it is gone.
    fn evict_one(&self, dir: &Handle, candidate: &Candidate) -> bool {
        let Candidate {
            digest,
            facts,
            standing,
            companions,
        } = candidate;
        // A holder of the lock fills or removes the layer.
        let attempt = FileLock::try_acquire(dir, &digest.hex());
        let free = matches!(attempt, Ok(Attempt::Held(_) | Attempt::NoRoom));
        let gone = free && remove_files(dir, digest, companions).is_ok_and(|removed| removed);
        if gone {
            self.total.fetch_add(1, Relaxed);
            self.evictions.increment(1);
            self.evicted_bytes.increment(facts.bytes);
            tracing::info!(%digest, bytes = facts.bytes, "evicted layer from disk");
            if *standing == Standing::Pinned {
                tracing::warn!(%digest, "a pinned layer was evicted: the other layers did not make enough room");
            }
        }
        gone
    }
}

/// How often a layer is found locked before it counts as open: another process that looks for open
/// layers has it locked for a moment.
const LOOKS: usize = 3;

/// Tells whether some process has the layer open: readers keep a shared lock on its file.
fn is_open(dir: &Handle, digest: &Digest) -> bool {
    let Ok(Some(file)) = dir.open_file(&file_name(digest, LAYER)) else {
        return false;
    };
    (0..LOOKS).all(|look| {
        if look > 0 {
            std::thread::yield_now();
        }
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    })
}

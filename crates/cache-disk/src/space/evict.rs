//! Eviction: what may go, and how it goes.

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::io;
use std::sync::atomic::Ordering::Relaxed;

use cache_core::{Digest, Result, planted};

use crate::dir::directory::Handle;
use crate::dir::layout::{LAYER, file_name};
use crate::dir::lock::{Attempt, FileLock};
use crate::dir::scan::{Files, companions_of, scan};
use crate::failure::failure;
use crate::space::policy::{Facts, Standing, order};
use crate::tier::Store;

/// What an eviction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Free space on the disk: layers that are open would free none. All that is needed, or nothing.
    Disk,
    /// Room within `max_bytes`: all that is needed, or nothing.
    Quota,
}

/// What an eviction did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evicted {
    /// The layers, in the order in which they went, with their bytes.
    pub(crate) layers: Vec<(Digest, u64)>,
    /// Bytes of the layers, and of what was in quarantine.
    pub(crate) bytes: u64,
}

impl Evicted {
    /// Those of the candidates that go when they are asked one after the other, until `needed` bytes are gone.
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

impl Store {
    /// All layers, in the order in which they are evicted.
    pub(crate) fn candidates(&self, dir: &Handle) -> Result<Vec<Candidate>> {
        Ok(self.candidates_of(dir, self.scan(dir)?))
    }

    /// The same of what a scan has found.
    pub(crate) fn candidates_of(&self, dir: &Handle, mut layers: BTreeMap<Digest, Files>) -> Vec<Candidate> {
        let pinned = self.pinned_layers(dir);
        let facts: Vec<_> = layers
            .iter()
            .filter_map(|(digest, files)| {
                let facts = Facts {
                    bytes: files.bytes,
                    used: files.layer?.1,
                    filled: files.filled,
                    open: is_open(dir, digest),
                    pinned: pinned.contains(digest) && !planted::is("pin-ignored"),
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

    /// Evicts until `needed` bytes are gone: what is in quarantine, and then layers other than `keep`.
    pub(crate) fn evict(
        &self,
        dir: &Handle,
        keep: Option<&Digest>,
        needed: u64,
        purpose: Purpose,
    ) -> Result<Evicted> {
        if needed == 0 {
            return Ok(Evicted::default());
        }
        let mut candidates = self.candidates(dir)?;
        candidates.retain(|candidate| Some(&candidate.digest) != keep);
        if purpose == Purpose::Disk && !planted::is("open-layer-evicted") {
            candidates.retain(|candidate| !candidate.facts.open);
        }
        let evictable: u64 = candidates.iter().map(|candidate| candidate.facts.bytes).sum();
        if evictable + self.quarantined(dir).bytes < needed {
            return Ok(Evicted::default());
        }
        if planted::is("most-recently-used-evicted") {
            candidates.reverse();
        }
        let released = self.release(dir, needed).bytes;
        let mut evicted = self.evict_these(dir, &candidates, needed.saturating_sub(released));
        evicted.bytes += released;
        Ok(evicted)
    }

    /// Evicts these layers, one after the other, until `needed` bytes are gone; those that somebody fills or removes are passed over.
    pub(crate) fn evict_these(&self, dir: &Handle, candidates: &[Candidate], needed: u64) -> Evicted {
        Evicted::of(candidates, needed, |candidate| self.evict_one(dir, candidate))
    }

    /// Whether the layer is gone.
    fn evict_one(&self, dir: &Handle, candidate: &Candidate) -> bool {
        let Candidate {
            digest,
            facts,
            standing,
            companions,
        } = candidate;
        // Whoever holds the lock fills or removes the layer.
        let attempt = FileLock::try_acquire(dir, &digest.hex());
        let free = matches!(attempt, Ok(Attempt::Held(_) | Attempt::NoRoom))
            || planted::is("layer-being-filled-evicted");
        let gone = free && remove_files(dir, digest, companions).is_ok_and(|removed| removed);
        if gone {
            self.evicted_layers.fetch_add(1, Relaxed);
            self.meters.evicted(facts.bytes);
            tracing::info!(%digest, bytes = facts.bytes, "evicted layer from disk");
            if *standing == Standing::Pinned {
                tracing::warn!(%digest, "a pinned layer was evicted: the other layers did not make enough room");
            }
        }
        gone
    }

    /// Removes a layer and its companions; whether there was a layer. While somebody else holds its lock, what it is
    /// about to commit is not removed, and the companions are left to it.
    pub(crate) fn remove_layer(&self, dir: &Handle, digest: &Digest) -> io::Result<bool> {
        let attempt = FileLock::try_acquire(dir, &digest.hex())?;
        match attempt {
            Attempt::Held(_) | Attempt::NoRoom => remove_files(dir, digest, &companions_of(dir, digest)?),
            Attempt::Busy(_) => dir.unlink(&file_name(digest, LAYER)),
        }
    }

    pub(crate) fn scan(&self, dir: &Handle) -> Result<BTreeMap<Digest, Files>> {
        scan(dir).map_err(|error| failure("list the cache directory", error))
    }
}

/// Removes the files of a layer that nobody else has the lock of: the layer first, so that it is not there without its
/// index.
pub(crate) fn remove_files(dir: &Handle, digest: &Digest, companions: &[String]) -> io::Result<bool> {
    let removed = dir.unlink(&file_name(digest, LAYER))?;
    for kind in companions {
        dir.unlink(&file_name(digest, kind))?;
    }
    Ok(removed)
}

/// Makes it durable that files were removed. An evicted layer may come back in a power loss, since it is right; one that was
/// removed for being wrong must not, least of all next to the index of the right one.
pub(crate) fn sync_removal(dir: &Handle) -> io::Result<()> {
    if planted::is("wrong-layer-comes-back") {
        return Ok(());
    }
    dir.sync()
}

/// How often a layer is found locked before it counts as open: another process that asks the same has it locked for a moment.
const LOOKS: usize = 3;

/// Whether some process has the layer open: readers keep a shared lock on its file.
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

//! Who has what in hands.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::Digest;
use tokio::time::Instant;

use super::process::Process;

/// What of a source is held now: writers, streams or leases. What killed processes held does not count.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    held: Vec<Entry>,
    /// Who has held something of which layer so far.
    past: Vec<(Process, Digest)>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    layer: Digest,
    process: Process,
    beat: Instant,
}

/// One thing that is held, until this is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    ledger: Arc<Ledger>,
    id: u64,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(self: &Arc<Self>, layer: Digest, process: &Process) -> Entered {
        let mut entries = self.lock();
        entries.last += 1;
        let id = entries.last;
        entries.held.push(Entry {
            id,
            layer,
            process: process.clone(),
            beat: Instant::now(),
        });
        entries.past.push((process.clone(), layer));
        let ledger = Arc::clone(self);
        Entered { ledger, id }
    }

    /// How many are held of which this is true.
    pub(crate) fn count(&self, wanted: impl Fn(&Digest, &Process) -> bool) -> usize {
        let entries = self.lock();
        let held = entries.held.iter().filter(|entry| entry.process.is_alive());
        held.filter(|entry| wanted(&entry.layer, &entry.process)).count()
    }

    /// When whoever holds something of a layer last showed progress; `None` when nobody does.
    pub(crate) fn last_beat(&self, layer: &Digest) -> Option<Instant> {
        let entries = self.lock();
        let of_layer = |entry: &&Entry| entry.process.is_alive() && entry.layer == *layer;
        entries.held.iter().filter(of_layer).map(|entry| entry.beat).max()
    }

    pub(crate) fn past(&self) -> Vec<(Process, Digest)> {
        self.lock().past.clone()
    }
}

impl Entered {
    /// Shows progress.
    pub(crate) fn beat(&self) {
        let mut entries = self.ledger.lock();
        if let Some(entry) = entries.held.iter_mut().find(|entry| entry.id == self.id) {
            entry.beat = Instant::now();
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.ledger.lock().held.retain(|entry| entry.id != self.id);
    }
}

//! One search and one fill per layer, however many readers ask for it.
//!
//! A flight is a task of the cache. Readers wait for its phase, or with `early_reads` for a watermark; they can go away at any
//! time. The task itself may fail or panic: a guard ends the flight either way, so that nobody waits for ever.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::pilot::Pilot;
use super::search::Hit;
use super::source_set::SourceSet;
use super::{Inner, LayerCache};
use crate::{Digest, Error, ErrorKind, LayerDescriptor, LayerReader, Result};

/// What a reader reads from.
#[derive(Clone, Debug)]
pub(super) enum Opened {
    Hit(Hit),
    /// A fill whose bytes may be read early.
    Flight(Arc<Flight>),
}

/// What decides whether two readers can share a flight. The repository is not in it: the bytes are the same wherever they
/// come from. What the image claims of them is: a false claim must fail its own image alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) digest: Digest,
    diff_id: Option<Digest>,
    size: Option<u64>,
    pub(super) skip: SourceSet,
}

/// The flights of a cache.
#[derive(Debug, Default)]
pub(super) struct Flights {
    table: Mutex<Table>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Table {
    by_key: HashMap<Key, Arc<Flight>>,
    /// How many flights have landed: tells whether what a source said before is still to be believed.
    landed: u64,
}

impl Flights {
    /// The table is consistent whenever the lock is free, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn progress(&self, digest: &Digest) -> Option<u64> {
        let table = self.lock();
        let flight = table.by_key.iter().find(|(key, _)| key.digest == *digest)?.1;
        Some(*flight.written.borrow())
    }

    /// Takes a flight off the table, so that who comes now looks at the tiers again. Another flight that has taken its
    /// place since stays.
    pub(super) fn remove(&self, key: &Key, flight: &Arc<Flight>) {
        let mut table = self.lock();
        if table
            .by_key
            .get(key)
            .is_some_and(|present| Arc::ptr_eq(present, flight))
        {
            table.by_key.remove(key);
            table.landed += 1;
            drop(table);
            self.count.send_modify(|count| *count -= 1);
        }
    }

    pub(super) async fn idle(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.count.subscribe().wait_for(|&count| count == 0).await;
    }
}

/// One search and fill under way.
#[derive(Debug)]
pub(super) struct Flight {
    repository: Option<Arc<str>>,
    phase: watch::Sender<Phase>,
    /// The watermark: bytes that can be read from the partial reader of the current phase.
    written: watch::Sender<u64>,
    /// Why bytes that could be read early were wrong.
    tainted: Mutex<Option<Error>>,
}

#[derive(Clone, Debug)]
enum Phase {
    Searching,
    Filling(Arc<dyn LayerReader>),
    Landed(Result<Option<Hit>>),
}

impl Flight {
    pub(super) fn begin_searching(&self) {
        self.phase.send_replace(Phase::Searching);
    }

    /// From now on what is written can be read from `partial`, if there is one.
    pub(super) fn begin_filling(&self, partial: Option<Arc<dyn LayerReader>>) {
        self.written.send_replace(0);
        if let Some(partial) = partial {
            self.phase.send_replace(Phase::Filling(partial));
        }
    }

    pub(super) fn advance(&self, written: u64) {
        self.written.send_replace(written);
    }

    /// What could be read early was wrong.
    pub(super) fn taint(&self, error: &Error) {
        *self.tainted.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
    }

    pub(super) fn land(&self, result: Result<Option<Hit>>) {
        self.phase.send_replace(Phase::Landed(result));
    }

    pub(super) fn land_if_flying(&self, error: Error) {
        self.phase.send_if_modified(|phase| {
            let flying = !matches!(phase, Phase::Landed(_));
            if flying {
                *phase = Phase::Landed(Err(error));
            }
            flying
        });
    }

    /// Waits for the end.
    async fn landed(&self) -> Result<Option<Hit>> {
        let mut phase = self.phase.subscribe();
        loop {
            if let Phase::Landed(result) = &*phase.borrow_and_update() {
                return result.clone();
            }
            if phase.changed().await.is_err() {
                return Err(Error::unavailable("the fill was given up"));
            }
        }
    }

    /// Waits until something can be read, or for the end: `None` means that bytes are coming.
    async fn readable(&self) -> Option<Result<Option<Hit>>> {
        let mut phase = self.phase.subscribe();
        loop {
            match &*phase.borrow_and_update() {
                Phase::Searching => {}
                Phase::Filling(_) => return None,
                Phase::Landed(result) => return Some(result.clone()),
            }
            if phase.changed().await.is_err() {
                return Some(Err(Error::unavailable("the fill was given up")));
            }
        }
    }

    /// What serves `len` bytes at `offset`: what is written so far as soon as that covers them, or what the flight ended
    /// with.
    pub(super) async fn reader_at(&self, offset: u64, len: usize) -> Result<Readable> {
        let end = offset.saturating_add(len as u64);
        let mut phase = self.phase.subscribe();
        let mut written = self.written.subscribe();
        loop {
            match &*phase.borrow_and_update() {
                Phase::Landed(Ok(Some(hit))) => return Ok(Readable::Landed(hit.clone())),
                Phase::Landed(Ok(None)) => return Err(Error::unavailable("the layer is gone")),
                Phase::Landed(Err(error)) => return Err(error.clone()),
                Phase::Filling(partial) if *written.borrow_and_update() >= end => {
                    return Ok(Readable::Early(Arc::clone(partial)));
                }
                Phase::Filling(_) | Phase::Searching => {}
            }
            // Both senders live in `self`.
            tokio::select! {
                _ = phase.changed() => {}
                _ = written.changed() => {}
            }
        }
    }

    /// Why bytes that could be read early were wrong, if they were.
    pub(super) fn tainted(&self) -> Option<Error> {
        self.tainted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What [`Flight::reader_at`] waited for.
#[derive(Debug)]
pub(super) enum Readable {
    /// Not verified yet.
    Early(Arc<dyn LayerReader>),
    Landed(Hit),
}

/// Joined flights of another repository that failed, before a reader gives up: its own repository may serve the layer.
const MAX_JOINS: usize = 8;

/// Opens a layer: at the first source right away, otherwise through a flight.
pub(super) async fn open(
    cache: &Arc<Inner>,
    layer: &LayerDescriptor,
    skip: SourceSet,
) -> Result<Option<Opened>> {
    let key = Key {
        digest: layer.digest,
        diff_id: layer.diff_id,
        size: layer.size,
        skip,
    };
    let mut joins = 0;
    loop {
        let (joined, flight) = board(cache, layer, &key).await?;
        let flight = match flight {
            Boarded::Hit(hit) => return Ok(Some(Opened::Hit(hit))),
            Boarded::Flight(flight) => flight,
        };
        let landed = if cache.early_reads {
            match flight.readable().await {
                Some(landed) => landed,
                None => return Ok(Some(Opened::Flight(flight))),
            }
        } else {
            flight.landed().await
        };
        match landed {
            Ok(Some(hit)) => return Ok(Some(Opened::Hit(hit))),
            _ if joined && flight.repository != layer.repository && joins < MAX_JOINS => joins += 1,
            Ok(None) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

enum Boarded {
    Hit(Hit),
    Flight(Arc<Flight>),
}

/// The flight for `key`, and whether it was under way already; or a hit at the first source, which needs none.
async fn board(cache: &Arc<Inner>, layer: &LayerDescriptor, key: &Key) -> Result<(bool, Boarded)> {
    let landed = {
        let table = cache.flights.lock();
        if let Some(flight) = table.by_key.get(key) {
            return Ok((true, Boarded::Flight(Arc::clone(flight))));
        }
        table.landed
    };
    let mut first = None;
    if !key.skip.contains(0) {
        match cache.sources[0].source.open(layer).await {
            Ok(Some(reader)) => return Ok((false, Boarded::Hit(Hit { source: 0, reader }))),
            Ok(None) => first = Some(Ok(())),
            Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
            Err(error) => first = Some(Err(error)),
        }
    }
    let mut table = cache.flights.lock();
    if let Some(flight) = table.by_key.get(key) {
        return Ok((true, Boarded::Flight(Arc::clone(flight))));
    }
    if table.landed != landed {
        // What landed meanwhile may be this layer: the first source has to be asked again.
        first = None;
    }
    let flight = Arc::new(Flight {
        repository: layer.repository.clone(),
        phase: watch::Sender::new(Phase::Searching),
        written: watch::Sender::new(0),
        tainted: Mutex::new(None),
    });
    table.by_key.insert(key.clone(), Arc::clone(&flight));
    drop(table);
    cache.flights.count.send_modify(|count| *count += 1);
    let pilot = Pilot {
        cache: LayerCache(Arc::clone(cache)),
        key: key.clone(),
        flight: Arc::clone(&flight),
    };
    let layer = layer.clone();
    tokio::spawn(async move {
        let result = pilot.fly(&layer, first).await;
        pilot.land(result);
    });
    Ok((false, Boarded::Flight(flight)))
}

//! One flight per layer, however many readers ask for it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use super::Inner;
use super::flight::{Flight, Opened};
use super::pilot::Pilot;
use super::search::Hit;
use super::source_set::SourceSet;
use crate::runtime::{Mutex, MutexGuard, spawn, watch};
use crate::{Digest, ErrorKind, LayerDescriptor, Result, planted};

/// What decides whether two readers can share a flight. What the image claims of the layer is in it: a false claim must
/// fail its own image alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) digest: Digest,
    diff_id: Option<Digest>,
    size: Option<u64>,
    pub(super) skip: SourceSet,
    /// The repository is not in it at first, for the bytes are the same wherever they come from. A reader whose shared
    /// flight has failed on behalf of another repository flies again with those of its own.
    apart: Option<Option<Arc<str>>>,
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

    /// Waits for whoever is about to put a flight on the table.
    pub(super) fn settle(&self) {
        drop(self.lock());
    }

    pub(super) fn progress(&self, digest: &Digest) -> Option<u64> {
        let table = self.lock();
        let flights = table.by_key.iter().filter(|(key, _)| key.digest == *digest);
        flights.map(|(_, flight)| flight.written()).max()
    }

    /// Takes a flight off the table, so that who comes now looks at the tiers again, and lands it in the same moment: who waits for
    /// the layer sees either both or none. Another flight that has taken its place since stays.
    pub(super) fn end<T>(&self, key: &Key, flight: &Arc<Flight>, land: impl FnOnce(&Flight) -> T) {
        let mut table = self.lock();
        let present = table.by_key.get(key);
        let removed = present.is_some_and(|present| Arc::ptr_eq(present, flight));
        if removed {
            table.by_key.remove(key);
            table.landed += 1;
        }
        let past = land(flight);
        drop(table);
        // Of what readers do when they are dropped nothing is known: not under the lock.
        drop(past);
        if removed {
            self.count.send_modify(|count| *count -= 1);
        }
    }

    /// Waits until no flight brings the layer. Who waits for the copy wants it to begin.
    pub(super) async fn settled(&self, digest: &Digest) {
        loop {
            let flight = {
                let table = self.lock();
                let mut flights = table.by_key.iter();
                flights
                    .find(|(key, _)| key.digest == *digest)
                    .map(|(_, flight)| Arc::clone(flight))
            };
            let Some(flight) = flight else { return };
            flight.end_head_start();
            let _ = flight.landed().await;
        }
    }

    pub(super) async fn idle(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.count.subscribe().wait_for(|&count| count == 0).await;
    }
}

/// Opens a layer at the sources that are not in `skip`: at the first one right away, otherwise through a flight.
pub(super) async fn open(
    cache: &Arc<Inner>,
    layer: &LayerDescriptor,
    skip: SourceSet,
    apart: bool,
) -> Result<Option<Opened>> {
    let mut key = Key {
        digest: layer.digest,
        diff_id: layer.diff_id,
        size: layer.size,
        skip,
        apart: apart.then(|| layer.repository.clone()),
    };
    let mut waited = planted::is("flights-on-other-terms-not-waited-for");
    loop {
        let flight = match board(cache, layer, &key, waited).await? {
            Boarded::Hit(hit) => return Ok(Some(Opened::Hit(hit))),
            Boarded::Flight(flight) => flight,
            Boarded::Wait(other) => {
                // Once: what it ends with is then to be had from the tiers, or else there is nothing to wait for.
                let _ = cache.meters.wait(other.landed()).await;
                waited = true;
                continue;
            }
        };
        let Some(landed) = cache.meters.wait(flight.readable()).await else {
            return Ok(Some(Opened::Flight(flight)));
        };
        match landed {
            Ok(Some(hit)) => return Ok(Some(Opened::Hit(hit))),
            _ if key.apart.is_none() && !flight.is_of(layer.repository.as_ref()) => {
                key.apart = Some(layer.repository.clone());
            }
            Ok(None) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

enum Boarded {
    Hit(Hit),
    Flight(Arc<Flight>),
    /// Another flight brings the same layer on other terms: this one would fetch it a second time.
    Wait(Arc<Flight>),
}

/// The flight for `key`, or a hit at the first source, which needs none.
async fn board(cache: &Arc<Inner>, layer: &LayerDescriptor, key: &Key, waited: bool) -> Result<Boarded> {
    let landed = {
        let table = cache.flights.lock();
        if let Some(flight) = table.by_key.get(key) {
            return Ok(Boarded::Flight(Arc::clone(flight)));
        }
        table.landed
    };
    let mut first = None;
    if !key.skip.contains(0) {
        match cache.sources[0].source.open(layer).await {
            Ok(Some(reader)) => return Ok(Boarded::Hit(Hit::at(0, reader))),
            Ok(None) => first = Some(Ok(())),
            Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
            Err(error) => first = Some(Err(error)),
        }
    }
    let mut table = cache.flights.lock();
    if let Some(flight) = table.by_key.get(key) {
        return Ok(Boarded::Flight(Arc::clone(flight)));
    }
    let other = table.by_key.iter().find(|(other, _)| other.digest == key.digest);
    if let (false, Some((_, other))) = (waited, other) {
        return Ok(Boarded::Wait(Arc::clone(other)));
    }
    // Under the lock: a flight is on the table before `close` counts, or refused.
    cache.check_open(layer)?;
    if table.landed != landed && !planted::is("outdated-answer-believed") {
        // What landed meanwhile may be this layer: the first source has to be asked again.
        first = None;
    }
    let flight = Arc::new(Flight::new(layer.repository.clone()));
    if !planted::is("flight-not-on-the-table") {
        table.by_key.insert(key.clone(), Arc::clone(&flight));
        cache.flights.count.send_modify(|count| *count += 1);
    }
    drop(table);
    let pilot = Pilot::new(cache, key.clone(), Arc::clone(&flight));
    let layer = layer.clone();
    spawn(async move {
        let result = pilot.fly(&layer, first).await;
        pilot.land(result);
    });
    Ok(Boarded::Flight(flight))
}

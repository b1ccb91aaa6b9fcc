//! The single-flight table: one search and fill per layer, however many readers ask for it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use super::hit::Hit;
use super::in_flight::InFlight;
use super::source_set::SourceSet;
use crate::runtime::{Mutex, MutexGuard, watch};
use crate::{Digest, Error, LayerDescriptor, Result};

/// The terms on which a layer is searched: two readers share a fill if theirs are the same. The image's claims about the
/// layer are part of them, since a false claim must fail its own image alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    digest: Digest,
    diff_id: Option<Digest>,
    size: Option<u64>,
    skip: SourceSet,
    /// The repository is not part of the key at first, for the bytes are the same wherever they come from. A reader whose
    /// shared fill has failed on behalf of another repository tries again apart, with the readers of its own.
    apart: Option<Option<Arc<str>>>,
}

impl Key {
    pub(super) fn new(layer: &LayerDescriptor, skip: SourceSet) -> Self {
        Self {
            digest: layer.digest,
            diff_id: layer.diff_id,
            size: layer.size,
            skip,
            apart: None,
        }
    }

    /// The sources that are not asked.
    pub(super) fn skip(&self) -> SourceSet {
        self.skip
    }

    pub(super) fn is_apart(&self) -> bool {
        self.apart.is_some()
    }

    /// Lets readers of this repository's images share the fill, and no others.
    pub(super) fn set_apart(&mut self, repository: Option<&Arc<str>>) {
        self.apart = Some(repository.cloned());
    }
}

/// The searches and fills of a cache that are under way.
#[derive(Debug)]
pub(super) struct SingleFlight {
    /// The name of the cache.
    name: Box<str>,
    table: Mutex<Table>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Table {
    in_flight: HashMap<Key, Arc<InFlight>>,
    /// How many have ended. Tells whether an earlier answer of a source is still to be believed.
    ended: u64,
}

/// The result of looking a key up.
pub(super) enum Lookup {
    InFlight(Arc<InFlight>),
    /// Nobody brings the layer. So many fills have ended so far.
    Absent {
        ended: u64,
    },
}

/// The result of joining.
pub(super) enum Joined {
    InFlight(Arc<InFlight>),
    /// Another fill brings the same layer on other terms: a fill on these would fetch it a second time.
    OnOtherTerms(Arc<InFlight>),
    /// A fill has begun, which the caller has to run. So many had ended before.
    Begun {
        guard: FinishGuard,
        ended: u64,
    },
}

impl SingleFlight {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            table: Mutex::default(),
            count: watch::Sender::default(),
        }
    }

    /// The table is consistent whenever the lock is free, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whether a fill on these terms is under way.
    pub(super) fn look_up(&self, key: &Key) -> Lookup {
        let table = self.lock();
        match table.in_flight.get(key) {
            Some(in_flight) => Lookup::InFlight(Arc::clone(in_flight)),
            None => Lookup::Absent { ended: table.ended },
        }
    }

    /// Joins the fill on these terms, or begins it if `may_begin` agrees: that is asked under the lock. One on other terms is
    /// returned unless it was `waited` for already.
    pub(super) fn join(
        self: &Arc<Self>,
        key: &Key,
        repository: Option<&Arc<str>>,
        waited: bool,
        may_begin: impl FnOnce() -> Result<()>,
    ) -> Result<Joined> {
        let mut table = self.lock();
        if let Some(in_flight) = table.in_flight.get(key) {
            return Ok(Joined::InFlight(Arc::clone(in_flight)));
        }
        let other = table
            .in_flight
            .iter()
            .find(|(other, _)| other.digest == key.digest);
        if let (false, Some((_, other))) = (waited, other) {
            return Ok(Joined::OnOtherTerms(Arc::clone(other)));
        }
        may_begin()?;
        let in_flight = Arc::new(InFlight::new(repository.cloned()));
        table.in_flight.insert(key.clone(), Arc::clone(&in_flight));
        self.count.send_modify(|count| *count += 1);
        let guard = FinishGuard {
            single_flight: Arc::clone(self),
            key: key.clone(),
            in_flight,
        };
        let ended = table.ended;
        Ok(Joined::Begun { guard, ended })
    }

    /// Waits for a caller that is about to begin a fill.
    pub(super) fn settle(&self) {
        drop(self.lock());
    }

    /// How many bytes of the layer are written so far; `None` when nobody brings it.
    pub(super) fn progress(&self, digest: &Digest) -> Option<u64> {
        let table = self.lock();
        let of_layer = table.in_flight.iter().filter(|(key, _)| key.digest == *digest);
        of_layer.map(|(_, in_flight)| in_flight.written()).max()
    }

    /// Takes a fill off the table, so that a reader that comes now looks at the tiers again, and ends it in the same moment: a
    /// caller that waits for the layer sees either both or none. Another fill that has taken its place since stays.
    fn end<T>(&self, key: &Key, in_flight: &Arc<InFlight>, finish: impl FnOnce(&InFlight) -> T) {
        let mut table = self.lock();
        let present = table.in_flight.get(key);
        let removed = present.is_some_and(|present| Arc::ptr_eq(present, in_flight));
        if removed {
            table.in_flight.remove(key);
            table.ended += 1;
        }
        let past = finish(in_flight);
        drop(table);
        // Readers are dropped with it, which may do anything: not under the lock.
        drop(past);
        if removed {
            self.count.send_modify(|count| *count -= 1);
        }
    }

    /// Waits until nobody brings the layer. A caller that waits for the copy wants it to begin.
    pub(super) async fn settled(&self, digest: &Digest) {
        loop {
            let in_flight = {
                let table = self.lock();
                let mut all = table.in_flight.iter();
                all.find(|(key, _)| key.digest == *digest)
                    .map(|(_, in_flight)| Arc::clone(in_flight))
            };
            let Some(in_flight) = in_flight else { return };
            in_flight.end_head_start();
            let _ = in_flight.finished().await;
        }
    }

    /// Waits until nothing is under way.
    pub(super) async fn idle(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.count.subscribe().wait_for(|&count| count == 0).await;
    }
}

/// Ends a fill in any case: with an error when it is dropped without [`finish`](Self::finish). A panic or the end of the
/// runtime must leave nobody waiting, and nothing dead in the table.
pub(super) struct FinishGuard {
    single_flight: Arc<SingleFlight>,
    key: Key,
    in_flight: Arc<InFlight>,
}

impl FinishGuard {
    pub(super) fn in_flight(&self) -> &Arc<InFlight> {
        &self.in_flight
    }

    /// Ends the fill with its result.
    pub(super) fn finish(self, result: Result<Option<Hit>>) {
        self.single_flight
            .end(&self.key, &self.in_flight, |in_flight| in_flight.finish(result));
    }
}

impl Drop for FinishGuard {
    fn drop(&mut self) {
        let lost =
            "the fill ended before its time: a source or tier panicked, or the runtime is shutting down";
        let error = Error::unavailable(lost)
            .at(&self.single_flight.name, "fill")
            .of_layer(&self.key.digest);
        self.single_flight.end(&self.key, &self.in_flight, |in_flight| {
            in_flight.finish_if_unfinished(error)
        });
    }
}

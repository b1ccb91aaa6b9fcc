//! One search and fill under way, as its readers see it.
//!
//! A flight is a task of the cache. Readers wait for its phase, or with `early_reads` for a watermark, or are served by the source
//! while the fill is under way; they can go away at any time. The task itself may fail or panic: a guard ends the flight either way, so that nobody waits for ever.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use super::search::Hit;
use crate::runtime::{AtomicBool, Mutex, MutexGuard, timeout, watch};
use crate::{Error, LayerReader, Result, planted};

/// How long the first read of a layer that is served at once may keep the copy from beginning.
const HEAD_START: Duration = Duration::from_millis(100);

/// What a reader reads from.
#[derive(Clone, Debug)]
pub(super) enum Opened {
    Hit(Hit),
    /// A fill that can be read while it is under way.
    Flight(Arc<Flight>),
}

/// One search and fill under way.
#[derive(Debug)]
pub(super) struct Flight {
    /// The repository whose image it serves first.
    repository: Option<Arc<str>>,
    phase: watch::Sender<Phase>,
    /// The watermark: bytes that can be read from the partial reader of the current phase.
    written: watch::Sender<u64>,
    /// Whether nothing speaks against beginning the copy of what is served.
    may_copy: watch::Sender<bool>,
    /// Where the layer was last served from. A std mutex: held to copy or replace it.
    served: Mutex<Option<Hit>>,
    /// Whether anybody has read bytes before all of the layer was verified.
    read_early: AtomicBool,
    /// Why bytes that could be read early were wrong.
    refuted: OnceLock<Error>,
}

#[derive(Clone, Debug)]
enum Phase {
    Searching,
    /// Read early: nothing of it is verified before the end.
    Filling(Arc<dyn LayerReader>),
    /// Read where it was found, piece by piece verified, or from the copy as far as that has come.
    Serving {
        hit: Hit,
        copy: Option<Arc<dyn LayerReader>>,
    },
    Landed(Result<Option<Hit>>),
}

/// What a reader can read from a flight.
#[derive(Debug)]
pub(super) enum Readable {
    /// A copy that is not complete yet.
    Early(Arc<dyn LayerReader>),
    /// Where the layer was found.
    Source(Arc<dyn LayerReader>),
    Landed(Result<Option<Hit>>),
}

impl Flight {
    pub(super) fn new(repository: Option<Arc<str>>) -> Self {
        Self {
            repository,
            phase: watch::Sender::new(Phase::Searching),
            written: watch::Sender::new(0),
            may_copy: watch::Sender::new(false),
            served: Mutex::default(),
            read_early: AtomicBool::new(false),
            refuted: OnceLock::new(),
        }
    }

    /// Whether the flight serves this repository's images first. What it fails with need not hold for another one.
    pub(super) fn is_of(&self, repository: Option<&Arc<str>>) -> bool {
        self.repository.as_ref() == repository
    }

    /// The source that was read from has failed. What it `served` may be wrong, or it may just be gone.
    pub(super) fn begin_searching(&self, wrong: bool) {
        if wrong {
            self.lock_served().take();
        }
        self.phase.send_replace(Phase::Searching);
    }

    /// From now on the layer can be read at `hit`.
    pub(super) fn begin_serving(&self, hit: Hit) {
        *self.lock_served() = Some(hit.clone());
        self.phase.send_replace(Phase::Serving { hit, copy: None });
    }

    pub(super) fn is_serving(&self) -> bool {
        matches!(&*self.phase.borrow(), Phase::Serving { .. })
    }

    /// Whoever has opened the layer is about to read: the first byte should not share the way with the copy.
    pub(super) async fn head_start(&self) {
        let mut may_copy = self.may_copy.subscribe();
        // The sender lives in `self`, so waiting cannot fail; that nobody reads is no failure either.
        let _ = timeout(HEAD_START, may_copy.wait_for(|&may| may)).await;
    }

    /// The source has served a read, or somebody waits for the copy.
    pub(super) fn end_head_start(&self) {
        self.may_copy.send_replace(true);
    }

    /// From now on what is written can be read from `partial`, if there is one: by those who are served anyway, and with `early`
    /// by all.
    pub(super) fn begin_filling(&self, partial: Option<Arc<dyn LayerReader>>, early: bool) {
        self.written.send_replace(0);
        self.phase.send_modify(|phase| match (phase, partial) {
            (Phase::Serving { copy, .. }, partial) => *copy = partial,
            (phase, Some(partial)) if early => *phase = Phase::Filling(partial),
            (phase, _) => *phase = Phase::Searching,
        });
    }

    /// The tier that was filled has failed.
    pub(super) fn end_filling(&self) {
        self.phase.send_modify(|phase| match phase {
            Phase::Serving { copy, .. } => *copy = None,
            phase => *phase = Phase::Searching,
        });
    }

    /// Where the layer was last served from, if nothing of that was found wrong.
    pub(super) fn served(&self) -> Option<Hit> {
        self.lock_served().clone()
    }

    fn lock_served(&self) -> MutexGuard<'_, Option<Hit>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the layer is read by now, if anywhere.
    pub(super) fn hit(&self) -> Option<Hit> {
        match &*self.phase.borrow() {
            Phase::Serving { hit, .. } => return Some(hit.clone()),
            Phase::Landed(Ok(hit)) => return hit.clone(),
            // What was served goes on being read where it was found.
            Phase::Landed(Err(_)) => {}
            Phase::Searching | Phase::Filling(_) => return None,
        }
        self.served()
    }

    /// Length of the layer in bytes, where that is known already.
    pub(super) fn len(&self) -> Option<u64> {
        match &*self.phase.borrow() {
            Phase::Serving { hit, .. } | Phase::Landed(Ok(Some(hit))) => hit.reader.len(),
            _ => None,
        }
    }

    pub(super) fn advance(&self, written: u64) {
        self.written.send_replace(written);
    }

    pub(super) fn written(&self) -> u64 {
        *self.written.borrow()
    }

    /// What could be read early was wrong. Has to be said before the flight lands.
    pub(super) fn refute(&self, error: Error) {
        let _ = self.refuted.set(error);
    }

    /// Why bytes that could be read early were wrong, if they were. Final once the flight has landed.
    pub(super) fn refuted(&self) -> Option<&Error> {
        self.refuted.get()
    }

    pub(super) fn was_read_early(&self) -> bool {
        self.read_early.load(Ordering::Relaxed)
    }

    /// Ends the flight, and returns what was before.
    pub(super) fn land(&self, result: Result<Option<Hit>>) -> impl Sized + use<> {
        self.phase.send_replace(Phase::Landed(result))
    }

    /// The same, unless it has landed.
    pub(super) fn land_if_flying(&self, error: Error) -> impl Sized + use<> {
        let mut past = None;
        self.phase.send_if_modified(|phase| {
            let flying = !matches!(phase, Phase::Landed(_));
            if flying {
                past = Some(std::mem::replace(phase, Phase::Landed(Err(error))));
            }
            flying
        });
        past
    }

    /// Waits for the end.
    pub(super) async fn landed(&self) -> Result<Option<Hit>> {
        let mut phase = self.phase.subscribe();
        loop {
            if let Phase::Landed(result) = &*phase.borrow_and_update() {
                return result.clone();
            }
            // The sender lives in `self`.
            let _ = phase.changed().await;
        }
    }

    /// Waits until something can be read, or for the end: `None` means that bytes are coming.
    pub(super) async fn readable(&self) -> Option<Result<Option<Hit>>> {
        let mut phase = self.phase.subscribe();
        loop {
            match &*phase.borrow_and_update() {
                Phase::Searching => {}
                Phase::Filling(_) | Phase::Serving { .. } => return None,
                Phase::Landed(result) => return Some(result.clone()),
            }
            if planted::is("wake-up-lost") {
                phase.mark_unchanged();
            }
            let _ = phase.changed().await;
        }
    }

    /// What serves `len` bytes at `offset`: what is written so far as soon as that covers them, the source where it serves, or
    /// what the flight ended with.
    pub(super) async fn reader_at(&self, offset: u64, len: usize) -> Readable {
        let end = offset.saturating_add(len as u64);
        let mut phase = self.phase.subscribe();
        let mut written = self.written.subscribe();
        loop {
            match &*phase.borrow_and_update() {
                Phase::Landed(result) => return Readable::Landed(result.clone()),
                Phase::Filling(partial) if *written.borrow_and_update() >= end => {
                    // While the phase is borrowed it cannot change: whoever ends this fill sees the mark.
                    self.read_early.store(true, Ordering::Relaxed);
                    return Readable::Early(Arc::clone(partial));
                }
                Phase::Serving { hit, copy } => {
                    self.read_early.store(true, Ordering::Relaxed);
                    return match copy {
                        Some(copy) if *written.borrow_and_update() >= end => {
                            Readable::Early(Arc::clone(copy))
                        }
                        _ => Readable::Source(Arc::clone(&hit.reader)),
                    };
                }
                Phase::Filling(_) | Phase::Searching => {}
            }
            // Both senders live in `self`. Which is asked first does not matter, and choosing by chance would take time.
            tokio::select! {
                biased;
                _ = phase.changed() => {}
                _ = written.changed() => {}
            }
        }
    }
}

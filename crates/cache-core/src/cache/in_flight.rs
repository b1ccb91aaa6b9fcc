//! One search and fill under way, as its readers see it.
//!
//! A fill task moves the [phase](Phase) on. Readers wait for a phase, or with `early_reads` for a watermark, or are served by
//! the source while the fill is under way; they can go away at any time.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use super::hit::Hit;
use crate::runtime::{AtomicBool, Mutex, MutexGuard, timeout, watch};
use crate::{Error, LayerReader, Result};

/// How long the first read of a layer that is served at once may keep the copy from beginning.
const HEAD_START: Duration = Duration::from_millis(100);

/// An open layer, as a reader holds it.
#[derive(Clone, Debug)]
pub(super) enum Opened {
    Hit(Hit),
    /// A fill that can be read while it is under way.
    InFlight(Arc<InFlight>),
}

/// One search and fill under way.
#[derive(Debug)]
pub(super) struct InFlight {
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

/// The phases of a search and fill. It moves between the first three, and ends in the last.
#[derive(Clone, Debug)]
enum Phase {
    Searching,
    /// The copy is read early: nothing of it is verified before the end.
    Filling(Arc<dyn LayerReader>),
    /// The layer is read where it was found, piece by piece verified, or from the copy as far as that has come.
    Serving {
        hit: Hit,
        copy: Option<Arc<dyn LayerReader>>,
    },
    Finished(Result<Option<Hit>>),
}

/// The reader to be used for some bytes of a layer that is in flight.
#[derive(Debug)]
pub(super) enum Readable {
    /// A copy that is not complete yet.
    Copy(Arc<dyn LayerReader>),
    /// The source where the layer was found.
    Source(Arc<dyn LayerReader>),
    /// None of them: the fill is over.
    Finished,
}

impl InFlight {
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

    /// Whether it serves this repository's images first. An error of it need not hold for another one.
    pub(super) fn is_of(&self, repository: Option<&Arc<str>>) -> bool {
        self.repository.as_ref() == repository
    }

    /// Begins to search anew after the source that was read from has failed. It may have served `wrong` bytes, or may just be
    /// gone.
    pub(super) fn begin_searching(&self, wrong: bool) {
        if wrong {
            self.lock_served().take();
        }
        self.phase.send_replace(Phase::Searching);
    }

    /// Lets the layer be read at `hit`.
    pub(super) fn begin_serving(&self, hit: Hit) {
        *self.lock_served() = Some(hit.clone());
        self.phase.send_replace(Phase::Serving { hit, copy: None });
    }

    pub(super) fn is_serving(&self) -> bool {
        matches!(&*self.phase.borrow(), Phase::Serving { .. })
    }

    /// Waits for the first read, for a moment: the first byte should not share the way with the copy.
    pub(super) async fn head_start(&self) {
        let mut may_copy = self.may_copy.subscribe();
        // The sender lives in `self`, so waiting cannot fail; that nobody reads is no failure either.
        let _ = timeout(HEAD_START, may_copy.wait_for(|&may| may)).await;
    }

    /// Lets the copy begin: the source has served a read, or somebody waits for the copy.
    pub(super) fn end_head_start(&self) {
        self.may_copy.send_replace(true);
    }

    /// Lets the copy be read from `partial` as it grows, if there is one: by readers that are served anyway, and with `early`
    /// by all.
    pub(super) fn begin_filling(&self, partial: Option<Arc<dyn LayerReader>>, early: bool) {
        self.written.send_replace(0);
        self.phase.send_modify(|phase| match (phase, partial) {
            (Phase::Serving { copy, .. }, partial) => *copy = partial,
            (phase, Some(partial)) if early => *phase = Phase::Filling(partial),
            (phase, _) => *phase = Phase::Searching,
        });
    }

    /// Drops the copy after the tier that was filled has failed. Readers that are served go on at the source.
    pub(super) fn end_filling(&self) {
        self.phase.send_modify(|phase| match phase {
            Phase::Serving { copy, .. } => *copy = None,
            phase => *phase = Phase::Searching,
        });
    }

    /// The place where the layer was last served from, if nothing of that was found wrong.
    pub(super) fn served(&self) -> Option<Hit> {
        self.lock_served().clone()
    }

    fn lock_served(&self) -> MutexGuard<'_, Option<Hit>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place where the layer is read by now, if there is one.
    pub(super) fn hit(&self) -> Option<Hit> {
        match &*self.phase.borrow() {
            Phase::Serving { hit, .. } => return Some(hit.clone()),
            Phase::Finished(Ok(hit)) => return hit.clone(),
            // A layer that was served goes on being read where it was found.
            Phase::Finished(Err(_)) => {}
            Phase::Searching | Phase::Filling(_) => return None,
        }
        self.served()
    }

    /// Length of the layer in bytes, where that is known already.
    pub(super) fn len(&self) -> Option<u64> {
        match &*self.phase.borrow() {
            Phase::Serving { hit, .. } | Phase::Finished(Ok(Some(hit))) => hit.reader.len(),
            _ => None,
        }
    }

    pub(super) fn advance(&self, written: u64) {
        self.written.send_replace(written);
    }

    pub(super) fn written(&self) -> u64 {
        *self.written.borrow()
    }

    /// Tells that bytes which could be read early were wrong. Has to be told before the end.
    pub(super) fn refute(&self, error: Error) {
        let _ = self.refuted.set(error);
    }

    /// Why bytes that could be read early were wrong, if they were. Final once the fill is over.
    pub(super) fn refuted(&self) -> Option<&Error> {
        self.refuted.get()
    }

    pub(super) fn was_read_early(&self) -> bool {
        self.read_early.load(Ordering::Relaxed)
    }

    /// Ends with `result`, and returns the phase before.
    pub(super) fn finish(&self, result: Result<Option<Hit>>) -> impl Sized + use<> {
        self.phase.send_replace(Phase::Finished(result))
    }

    /// Ends with `error` unless it has ended, and returns the phase before.
    pub(super) fn finish_if_unfinished(&self, error: Error) -> impl Sized + use<> {
        let mut past = None;
        self.phase.send_if_modified(|phase| {
            let unfinished = !matches!(phase, Phase::Finished(_));
            if unfinished {
                past = Some(std::mem::replace(phase, Phase::Finished(Err(error))));
            }
            unfinished
        });
        past
    }

    /// Waits for the end.
    pub(super) async fn finished(&self) -> Result<Option<Hit>> {
        let mut phase = self.phase.subscribe();
        loop {
            if let Phase::Finished(result) = &*phase.borrow_and_update() {
                return result.clone();
            }
            // The sender lives in `self`.
            let _ = phase.changed().await;
        }
    }

    /// Waits until something can be read, or for the end. `None` means that bytes are coming.
    pub(super) async fn readable(&self) -> Option<Result<Option<Hit>>> {
        let mut phase = self.phase.subscribe();
        loop {
            match &*phase.borrow_and_update() {
                Phase::Searching => {}
                Phase::Filling(_) | Phase::Serving { .. } => return None,
                Phase::Finished(result) => return Some(result.clone()),
            }
            let _ = phase.changed().await;
        }
    }

    /// Waits for a reader that serves `len` bytes at `offset`: the copy as soon as it covers them, the source where it serves,
    /// or the end.
    pub(super) async fn reader_at(&self, offset: u64, len: usize) -> Readable {
        let end = offset.saturating_add(len as u64);
        let mut phase = self.phase.subscribe();
        let mut written = self.written.subscribe();
        loop {
            match &*phase.borrow_and_update() {
                Phase::Finished(_) => return Readable::Finished,
                Phase::Filling(partial) if *written.borrow_and_update() >= end => {
                    // While the phase is borrowed it cannot change: the task that ends this phase sees the mark.
                    self.read_early.store(true, Ordering::Relaxed);
                    return Readable::Copy(Arc::clone(partial));
                }
                Phase::Serving { hit, copy } => {
                    self.read_early.store(true, Ordering::Relaxed);
                    return match copy {
                        Some(copy) if *written.borrow_and_update() >= end => Readable::Copy(Arc::clone(copy)),
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

/// Told by `cargo xtask schedules` under every schedule there is.
#[cfg(all(test, shuttle))]
mod stories {
    use bytes::Bytes;
    use scheduled::{exhaust, spawn};

    use super::*;
    use crate::{Claim, Digest, LayerDescriptor, LayerWriter, MemoryTier, Tier};

    async fn half_written() -> (Box<dyn LayerWriter>, Arc<dyn LayerReader>) {
        let layer = LayerDescriptor::new(Digest::sha256_of(b"the blob"));
        let Claim::Write(mut writer) = MemoryTier::new("near", 1 << 20).create(&layer).await.unwrap() else {
            unreachable!("it is empty")
        };
        writer.write(Bytes::from_static(b"a ")).await.unwrap();
        let partial = writer.partial().unwrap();
        (writer, partial)
    }

    #[test]
    fn whoever_waits_for_an_offset_is_told_when_it_is_written() {
        exhaust(|| async {
            let in_flight = Arc::new(InFlight::new(None));
            let (_writer, partial) = half_written().await;
            let filling = spawn({
                let in_flight = Arc::clone(&in_flight);
                async move {
                    in_flight.begin_filling(Some(partial), true);
                    in_flight.advance(2);
                }
            });
            assert!(in_flight.readable().await.is_none());
            assert!(matches!(in_flight.reader_at(0, 2).await, Readable::Copy(_)));
            assert!(in_flight.was_read_early());
            filling.await.unwrap();
        });
    }

    #[test]
    fn whoever_waits_behind_the_end_is_told_of_it() {
        exhaust(|| async {
            let in_flight = Arc::new(InFlight::new(None));
            let (_writer, reader) = half_written().await;
            in_flight.begin_filling(Some(Arc::clone(&reader)), true);
            let filling = spawn({
                let in_flight = Arc::clone(&in_flight);
                async move {
                    in_flight.advance(2);
                    drop(in_flight.finish(Ok(Some(Hit::at(0, reader)))));
                }
            });
            assert!(matches!(in_flight.reader_at(0, 3).await, Readable::Finished));
            assert!(matches!(in_flight.finished().await, Ok(Some(_))));
            filling.await.unwrap();
        });
    }

    #[test]
    fn whoever_has_read_early_is_known_before_the_fill_ends() {
        exhaust(|| async {
            let in_flight = Arc::new(InFlight::new(None));
            let (_writer, partial) = half_written().await;
            in_flight.begin_filling(Some(partial), true);
            in_flight.advance(2);
            let filling = spawn({
                let in_flight = Arc::clone(&in_flight);
                async move {
                    in_flight.begin_searching(true);
                    let known = in_flight.was_read_early();
                    drop(in_flight.finish(Ok(None)));
                    known
                }
            });
            let read = matches!(in_flight.reader_at(0, 1).await, Readable::Copy(_));
            assert_eq!(filling.await.unwrap(), read);
        });
    }
}

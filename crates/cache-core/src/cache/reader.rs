//! A layer opened through a cache: it moves on to another source when the one it reads from fails.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::hit::Hit;
use super::in_flight::{InFlight, Opened, Readable};
use super::inner::Inner;
use super::open::open;
use super::source_set::SourceSet;
use crate::metrics::{Reads, Tally};
use crate::runtime::{AtomicBool, Mutex, MutexGuard};
use crate::verify::{skip, verify};
use crate::{ByteStream, Error, ErrorKind, LayerDescriptor, LayerReader, Result};

/// Bytes that a stream reads at once.
const PIECE_LEN: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct CacheReader {
    pub(super) cache: Arc<Inner>,
    layer: LayerDescriptor,
    /// A std mutex: held to copy or replace the state, never across an await.
    state: Mutex<State>,
    /// Whether bytes were handed out before they were verified.
    read_early: AtomicBool,
    tally: Tally,
}

#[derive(Clone, Debug)]
struct State {
    opened: Opened,
    /// How often the reader has moved on: tells a failure of the present source from one of a past source.
    moves: u64,
    recovery: Recovery,
    /// Whether the reader shares no fill with readers of other repositories.
    apart: bool,
}

/// The steps that a reader has taken with sources that failed it. It takes each once per source, so it moves on a bounded number
/// of times.
#[derive(Clone, Copy, Debug, Default)]
struct Recovery {
    reopened: SourceSet,
    emptied: SourceSet,
    excluded: SourceSet,
}

/// A step that a reader takes with a source that failed it, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The layer is opened afresh: the reader may have had a copy that is gone.
    Reopen,
    /// The tier is rid of the layer, which is wrong there.
    Empty,
    /// The source is not asked any more.
    Exclude,
}

impl Recovery {
    fn next(self, source: usize, kind: ErrorKind) -> Step {
        if !self.reopened.contains(source) {
            Step::Reopen
        } else if kind == ErrorKind::Corrupt && !self.emptied.contains(source) {
            Step::Empty
        } else {
            Step::Exclude
        }
    }

    fn note(&mut self, source: usize, step: Step) {
        let taken = match step {
            Step::Reopen => &mut self.reopened,
            Step::Empty => &mut self.emptied,
            Step::Exclude => &mut self.excluded,
        };
        taken.insert(source);
    }
}

impl CacheReader {
    pub(super) fn new(cache: Arc<Inner>, layer: LayerDescriptor, opened: Opened) -> Self {
        let state = State {
            opened,
            moves: 0,
            recovery: Recovery::default(),
            apart: false,
        };
        Self {
            cache,
            layer,
            state: Mutex::new(state),
            read_early: AtomicBool::new(false),
            tally: Tally::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> State {
        self.lock().clone()
    }

    /// What the reader reads from at present.
    pub(super) fn opened(&self) -> Opened {
        self.lock().opened.clone()
    }

    /// Replaces the state it was derived from, unless another read has done so.
    fn replace(&self, state: State) {
        let mut current = self.lock();
        if current.moves == state.moves {
            *current = State {
                moves: state.moves + 1,
                ..state
            };
        }
    }

    /// Moves on from a source that failed, or returns the error when there is nowhere to go.
    async fn move_on(&self, mut state: State, source: usize, error: Error) -> Result<()> {
        let overtaken = || self.lock().moves != state.moves;
        if overtaken() {
            return Ok(());
        }
        let entry = &self.cache.sources[source];
        let error = entry.blame(&self.layer, error);
        tracing::warn!(%error, "read failed, moving on");
        let mut step = state.recovery.next(source, error.kind());
        if step == Step::Empty && !entry.remove_corrupt(&self.layer).await {
            step = Step::Exclude;
        }
        state.recovery.note(source, step);
        self.reopen(state, error).await
    }

    async fn reopen(&self, mut state: State, error: Error) -> Result<()> {
        let skip = state.recovery.excluded;
        let opened = open(&self.cache, &self.layer, skip, state.apart).await?;
        state.opened = opened.ok_or(error)?;
        self.replace(state);
        Ok(())
    }

    /// Reads at the present source. `None` when that has failed or ended, and the state was moved on.
    async fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> Result<Option<usize>> {
        let state = self.state();
        let read = match &state.opened {
            Opened::Hit(Hit { source, reader, .. }) => match reader.read_at(offset, buf).await {
                Ok(read) => Some(read),
                Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
                Err(error) => {
                    let source = *source;
                    self.move_on(state, source, error).await?;
                    None
                }
            },
            Opened::InFlight(in_flight) => match self.read_in_flight(in_flight, offset, buf).await? {
                Some(read) => Some(read),
                None => {
                    let in_flight = Arc::clone(in_flight);
                    self.continue_after(state, &in_flight).await?;
                    None
                }
            },
        };
        if let Some(read) = read {
            self.served(read);
        }
        Ok(read)
    }

    /// Counts bytes that were handed out.
    fn served(&self, bytes: usize) {
        if let Some(reads) = self.tally.add(bytes as u64) {
            self.cache.meters.served(reads);
        }
    }

    /// Reads from a fill under way. `None` when the end of the fill has to decide.
    async fn read_in_flight(
        &self,
        in_flight: &InFlight,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Option<usize>> {
        let readable = self.cache.meters.wait(in_flight.reader_at(offset, buf.len()));
        let read = match readable.await {
            Readable::Finished => return Ok(None),
            Readable::Copy(partial) => match partial.read_at(offset, buf).await {
                Ok(read) if read == buf.len() => read,
                // The tier's trouble, which the fill will notice or survive.
                _ => return Ok(None),
            },
            Readable::Source(source) => match source.read_at(offset, buf).await {
                Ok(read) => {
                    in_flight.end_head_start();
                    read
                }
                Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
                Err(error) => {
                    // The fill reads from there too: it will survive, or find another source.
                    tracing::warn!(%error, "read failed, waiting for the fill");
                    return Ok(None);
                }
            },
        };
        self.read_early.store(true, Ordering::Relaxed);
        Ok(Some(read))
    }

    /// Waits for the end of a fill, and goes on with what that has led to.
    async fn continue_after(&self, mut state: State, in_flight: &InFlight) -> Result<()> {
        let finished = self.cache.meters.wait(in_flight.finished()).await;
        if let (true, Some(error)) = (self.read_early.load(Ordering::Relaxed), in_flight.refuted()) {
            return Err(error.clone());
        }
        let error = match finished {
            Ok(Some(hit)) => {
                self.go_on_at(state, hit);
                return Ok(());
            }
            Ok(None) => Error::unavailable("the layer is gone from every source since it was opened")
                .at(&self.cache.name, "read")
                .of_layer(&self.layer.digest),
            Err(error) => error,
        };
        if !state.apart && !in_flight.is_of(self.layer.repository.as_ref()) {
            state.apart = true;
            return self.reopen(state, error).await;
        }
        // An image that was refuted is served nowhere any more.
        if error.kind() != ErrorKind::Invalid
            && let Some(hit) = in_flight.served()
        {
            // Nothing else has the layer, and where it was found it may still be.
            self.go_on_at(state, hit);
            return Ok(());
        }
        Err(error)
    }

    fn go_on_at(&self, mut state: State, hit: Hit) {
        state.opened = Opened::Hit(hit);
        self.replace(state);
    }
}

#[async_trait]
impl LayerReader for CacheReader {
    fn len(&self) -> Option<u64> {
        match self.opened() {
            Opened::Hit(hit) => hit.reader.len(),
            Opened::InFlight(in_flight) => in_flight.len(),
        }
    }

    fn random_access(&self) -> bool {
        match self.opened() {
            Opened::Hit(hit) => hit.reader.random_access(),
            Opened::InFlight(in_flight) => in_flight.hit().is_some_and(|hit| hit.reader.random_access()),
        }
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        loop {
            if let Some(read) = self.try_read_at(offset, buf).await? {
                return Ok(read);
            }
        }
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let streaming = Streaming {
            reader: self,
            offset,
            passage: None,
        };
        stream::try_unfold(streaming, Streaming::next).boxed()
    }
}

impl Drop for CacheReader {
    fn drop(&mut self) {
        self.cache.meters.served(self.tally.rest());
        let Reads { reads, bytes } = self.tally.all();
        tracing::debug!(digest = %self.layer.digest, reads, bytes, "Layer access count");
    }
}

/// A layer's bytes in order, over as many sources as it takes.
struct Streaming {
    reader: Arc<CacheReader>,
    offset: u64,
    passage: Option<Passage>,
}

/// One passage through a source that is better read in order: every read at an offset would start from the beginning.
struct Passage {
    bytes: ByteStream,
    state: State,
    source: usize,
    /// Whether it has handed out bytes. They are only proven right at its end, so from then on an error is final: going
    /// on elsewhere would hide it.
    begun: bool,
}

impl Streaming {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        loop {
            let Some(mut passage) = self.passage.take().or_else(|| self.begin_passage()) else {
                let mut piece = BytesMut::zeroed(PIECE_LEN);
                let Some(read) = self.reader.try_read_at(self.offset, &mut piece).await? else {
                    continue;
                };
                piece.truncate(read);
                return Ok(self.hand_out(piece.freeze(), None));
            };
            match passage.bytes.try_next().await {
                Ok(Some(piece)) => {
                    passage.begun = true;
                    self.reader.served(piece.len());
                    return Ok(self.hand_out(piece, Some(passage)));
                }
                Ok(None) => return Ok(None),
                Err(error) if passage.begun => {
                    let reader = &self.reader;
                    return Err(reader.cache.sources[passage.source].blame(&reader.layer, error));
                }
                Err(error) => self.reader.move_on(passage.state, passage.source, error).await?,
            }
        }
    }

    fn hand_out(mut self, piece: Bytes, passage: Option<Passage>) -> Option<(Bytes, Self)> {
        self.offset = self.offset.saturating_add(piece.len() as u64);
        self.passage = passage;
        (!piece.is_empty()).then_some((piece, self))
    }

    /// Begins a passage through the present source, if that is one to be read in order.
    fn begin_passage(&self) -> Option<Passage> {
        let state = self.reader.state();
        let Opened::Hit(hit) = &state.opened else {
            return None;
        };
        let entry = &self.reader.cache.sources[hit.source];
        if entry.rules.reads_ranges(hit.reader.random_access()) {
            return None;
        }
        let bytes = Arc::clone(&hit.reader).stream(0);
        let bytes = verify(bytes, entry.source.name(), &self.reader.layer);
        let (bytes, source) = (skip(bytes, self.offset), hit.source);
        Some(Passage {
            bytes,
            state,
            source,
            begun: false,
        })
    }
}

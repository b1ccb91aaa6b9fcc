//! A layer opened through a cache: it moves on to another source when the one it reads from fails.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use super::Inner;
use super::flight::{Flight, Opened, Readable};
use super::search::Hit;
use super::source_set::SourceSet;
use super::streaming::Streaming;
use crate::metrics::{Reads, Tally};
use crate::runtime::{AtomicBool, Mutex, MutexGuard};
use crate::{ByteStream, Error, ErrorKind, LayerDescriptor, LayerReader, Result, planted};

#[derive(Debug)]
pub(super) struct CacheReader {
    pub(super) cache: Arc<Inner>,
    pub(super) layer: LayerDescriptor,
    /// A std mutex: held to copy or replace the state, never across an await.
    state: Mutex<State>,
    /// Whether bytes were handed out before they were verified.
    read_early: AtomicBool,
    tally: Tally,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) opened: Opened,
    /// How often the reader has moved on: tells a failure of the present source from one of a past source.
    moves: u64,
    /// Sources that failed this reader and are not asked again.
    skip: SourceSet,
    /// Sources that failed this reader once, and were opened afresh: what failed may be a copy that is gone.
    failed: SourceSet,
    /// Tiers that were rid of wrong bytes on behalf of this reader, after they had failed it twice.
    emptied: SourceSet,
    /// Whether the reader flies apart from other repositories' readers.
    apart: bool,
}

impl CacheReader {
    pub(super) fn new(cache: Arc<Inner>, layer: LayerDescriptor, opened: Opened) -> Self {
        let state = State {
            opened,
            moves: 0,
            skip: SourceSet::default(),
            failed: SourceSet::default(),
            emptied: SourceSet::default(),
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

    pub(super) fn state(&self) -> State {
        self.lock().clone()
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

    /// Moves on from a source that failed, or returns the error when there is nowhere to go. Each source is opened afresh
    /// once, rid of wrong bytes once, and then skipped, so a reader moves a bounded number of times.
    pub(super) async fn move_on(&self, mut state: State, source: usize, error: Error) -> Result<()> {
        let overtaken = || self.lock().moves != state.moves;
        if overtaken() {
            return Ok(());
        }
        let error = self.cache.blame(source, &self.layer, error);
        tracing::warn!(%error, "read failed, moving on");
        if !state.failed.contains(source) {
            state.failed.insert(source);
        } else if error.kind() == ErrorKind::Corrupt
            && !state.emptied.contains(source)
            && self.cache.remove_corrupt(source, &self.layer).await
        {
            state.emptied.insert(source);
        } else {
            state.skip.insert(source);
        }
        self.reopen(state, error).await
    }

    async fn reopen(&self, mut state: State, error: Error) -> Result<()> {
        let opened = self.cache.open(&self.layer, state.skip, state.apart).await?;
        state.opened = opened.ok_or(error)?;
        self.replace(state);
        Ok(())
    }

    /// Reads at the present source; `None` when that has failed or ended, and the state was moved on.
    pub(super) async fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> Result<Option<usize>> {
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
            Opened::Flight(flight) => {
                let flight = Arc::clone(flight);
                self.read_flight(state, &flight, offset, buf).await?
            }
        };
        if let Some(read) = read {
            self.served(read);
        }
        Ok(read)
    }

    /// So many bytes were handed out.
    pub(super) fn served(&self, bytes: usize) {
        if let Some(reads) = self.tally.add(bytes as u64) {
            self.cache.meters.served(reads);
        }
    }

    /// Reads from a fill under way. `None` when it has ended and the state was moved on.
    async fn read_flight(
        &self,
        mut state: State,
        flight: &Arc<Flight>,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Option<usize>> {
        let meters = &self.cache.meters;
        let landed = match meters.wait(flight.reader_at(offset, buf.len())).await {
            Readable::Landed(landed) => landed,
            Readable::Early(partial) => {
                if partial
                    .read_at(offset, buf)
                    .await
                    .is_ok_and(|read| read == buf.len())
                {
                    self.read_early.store(true, Ordering::Relaxed);
                    return Ok(Some(buf.len()));
                }
                // The tier's trouble, which the fill will notice or survive: its end decides.
                meters.wait(flight.landed()).await
            }
            Readable::Source(source) => match source.read_at(offset, buf).await {
                Ok(read) => {
                    flight.end_head_start();
                    self.read_early.store(true, Ordering::Relaxed);
                    return Ok(Some(read));
                }
                Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
                Err(error) => {
                    // The fill reads from there too: it will survive, or find another source.
                    tracing::warn!(%error, "read failed, waiting for the fill");
                    meters.wait(flight.landed()).await
                }
            },
        };
        if let (true, Some(error)) = (self.read_early.load(Ordering::Relaxed), flight.refuted())
            && !planted::is("refutation-not-told")
        {
            return Err(error.clone());
        }
        let gone = || {
            Error::unavailable("the layer is gone from every source since it was opened")
                .at(&self.cache.name, "read")
                .of_layer(&self.layer.digest)
        };
        match landed {
            Ok(Some(hit)) => {
                state.opened = Opened::Hit(hit);
                self.replace(state);
            }
            failed if !state.apart && !flight.is_of(self.layer.repository.as_ref()) => {
                state.apart = true;
                self.reopen(state, failed.err().unwrap_or_else(gone)).await?;
            }
            // The image was refuted: it is served nowhere any more.
            Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
            failed => match flight.served() {
                // Nothing else has the layer, and where it was found it may still be.
                Some(hit) => {
                    state.opened = Opened::Hit(hit);
                    self.replace(state);
                }
                None => return Err(failed.err().unwrap_or_else(gone)),
            },
        }
        Ok(None)
    }
}

#[async_trait]
impl LayerReader for CacheReader {
    fn len(&self) -> Option<u64> {
        match self.state().opened {
            Opened::Hit(hit) => hit.reader.len(),
            Opened::Flight(flight) => flight.len(),
        }
    }

    fn random_access(&self) -> bool {
        match self.state().opened {
            Opened::Hit(hit) => hit.reader.random_access(),
            Opened::Flight(flight) => flight.hit().is_some_and(|hit| hit.reader.random_access()),
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
        stream::try_unfold(Streaming::new(self, offset), Streaming::next).boxed()
    }
}

impl Drop for CacheReader {
    fn drop(&mut self) {
        self.cache.meters.served(self.tally.rest());
        let Reads { reads, bytes } = self.tally.all();
        tracing::debug!(digest = %self.layer.digest, reads, bytes, "Layer access count");
    }
}

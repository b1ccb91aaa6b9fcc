//! A layer opened through a cache: it moves on to another source when the one it reads from fails.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::Inner;
use super::flight::{Opened, Readable};
use super::search::Hit;
use super::source_set::SourceSet;
use crate::verify::{skip, verify};
use crate::{ByteStream, Error, ErrorKind, LayerDescriptor, LayerReader, LayerReaderExt, Result};

/// Bytes a stream reads at once.
const PIECE_LEN: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct CacheReader {
    cache: Arc<Inner>,
    layer: LayerDescriptor,
    state: Mutex<State>,
    /// Whether bytes were handed out before they were verified.
    read_early: AtomicBool,
    reads: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Clone, Debug)]
struct State {
    opened: Opened,
    /// How often the reader has moved on: tells a failure of the present source from one of a past source.
    moves: u32,
    /// Sources that failed this reader, and are not asked again.
    skip: SourceSet,
    /// Tiers that were rid of wrong bytes on behalf of this reader; a second time they are skipped.
    repaired: SourceSet,
}

impl CacheReader {
    pub(super) fn new(cache: Arc<Inner>, layer: LayerDescriptor, opened: Opened) -> Self {
        let (skip, repaired) = (SourceSet::default(), SourceSet::default());
        Self {
            cache,
            layer,
            state: Mutex::new(State {
                opened,
                moves: 0,
                skip,
                repaired,
            }),
            read_early: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The reader to use for `len` bytes at `offset`, and whether what it reads is not verified yet.
    async fn current(&self, opened: &Opened, offset: u64, len: usize) -> Result<(Hit, bool), Failure> {
        let flight = match opened {
            Opened::Hit(hit) => return Ok((hit.clone(), false)),
            Opened::Flight(flight) => flight,
        };
        if let (true, Some(error)) = (self.read_early.load(Ordering::Relaxed), flight.tainted()) {
            return Err(Failure::Final(error));
        }
        match flight.reader_at(offset, len).await.map_err(Failure::Final)? {
            Readable::Landed(hit) => Ok((hit, false)),
            Readable::Early(reader) => {
                self.read_early.store(true, Ordering::Relaxed);
                // An early reader's failure is the flight's business: it has no source to move on from.
                Ok((
                    Hit {
                        source: usize::MAX,
                        reader,
                    },
                    true,
                ))
            }
        }
    }

    /// Moves on from `failed`, or returns the error when there is nowhere to go.
    async fn move_on(&self, state: State, source: usize, error: Error) -> Result<()> {
        let State {
            moves,
            mut skip,
            mut repaired,
            ..
        } = state;
        let error = self.cache.blame(source, &self.layer, error);
        tracing::warn!(%error, "read failed, moving on");
        let repairable = error.kind() == ErrorKind::Corrupt && !repaired.contains(source);
        if repairable && self.cache.remove_corrupt(source, &self.layer).await {
            repaired.insert(source);
        } else {
            skip.insert(source);
        }
        if self.state().moves != moves {
            // Another read of this handle has moved on already.
            return Ok(());
        }
        let Some(opened) = self.cache.open(&self.layer, skip).await? else {
            return Err(error);
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.moves == moves {
            *state = State {
                opened,
                moves: moves + 1,
                skip,
                repaired,
            };
        }
        Ok(())
    }
}

enum Failure {
    /// Of the source the reader reads from: another may do.
    Source(usize, Error),
    /// No other source will do.
    Final(Error),
}

impl CacheReader {
    async fn read_once(&self, opened: &Opened, offset: u64, buf: &mut [u8]) -> Result<usize, Failure> {
        let (hit, early) = self.current(opened, offset, buf.len()).await?;
        match hit.reader.read_at(offset, buf).await {
            Ok(read) => Ok(read),
            Err(error) if early => Err(Failure::Final(error)),
            Err(error) if error.kind() == ErrorKind::Invalid => Err(Failure::Final(error)),
            Err(error) => Err(Failure::Source(hit.source, error)),
        }
    }

    /// A stream of one source that reads all in order at once, where that is better than reading piece by piece.
    fn sequential(&self, offset: u64) -> Option<ByteStream> {
        let Opened::Hit(hit) = self.state().opened else {
            return None;
        };
        let source = &self.cache.sources[hit.source].source;
        let capabilities = source.capabilities();
        if capabilities.random_access && capabilities.verified {
            return None;
        }
        // Every read at an offset would start from the beginning. What it has handed out is only proven right at the end,
        // so an error is final: going on elsewhere would hide it.
        Some(skip(
            verify(hit.reader.stream(0), source.name(), &self.layer),
            offset,
        ))
    }
}

#[async_trait]
impl LayerReader for CacheReader {
    fn len(&self) -> Option<u64> {
        match self.state().opened {
            Opened::Hit(hit) => hit.reader.len(),
            Opened::Flight(_) => None,
        }
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        // Each move excludes a source or uses up its one repair, so this ends.
        loop {
            let state = self.state();
            match self.read_once(&state.opened, offset, buf).await {
                Ok(read) => {
                    self.bytes.fetch_add(read as u64, Ordering::Relaxed);
                    return Ok(read);
                }
                Err(Failure::Final(error)) => return Err(error.of_layer(&self.layer.digest)),
                Err(Failure::Source(source, error)) => self.move_on(state, source, error).await?,
            }
        }
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        if let Some(sequential) = self.sequential(offset) {
            return sequential;
        }
        let pieces = stream::try_unfold((self, offset), |(reader, offset)| async move {
            let piece: Bytes = reader.read_bytes(offset, PIECE_LEN).await?;
            let next = offset.saturating_add(piece.len() as u64);
            Ok::<_, Error>((!piece.is_empty()).then_some((piece, (reader, next))))
        });
        pieces.boxed()
    }
}

impl Drop for CacheReader {
    fn drop(&mut self) {
        let (reads, bytes) = (
            self.reads.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        );
        tracing::debug!(digest = %self.layer.digest, reads, bytes, "Layer access count");
    }
}

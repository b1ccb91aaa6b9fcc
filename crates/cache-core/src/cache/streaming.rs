//! A layer's bytes in order, over as many sources as it takes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;

use super::flight::Opened;
use super::reader::{CacheReader, State};
use crate::verify::{skip, verify};
use crate::{ByteStream, Result};

/// Bytes read at once.
const PIECE_LEN: usize = 256 * 1024;

pub(super) struct Streaming {
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
    pub(super) fn new(reader: Arc<CacheReader>, offset: u64) -> Self {
        Self {
            reader,
            offset,
            passage: None,
        }
    }

    pub(super) async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        loop {
            let Some(mut passage) = self.passage.take().or_else(|| self.passage()) else {
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
                    return Err(reader.cache.blame(passage.source, &reader.layer, error));
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

    /// A passage through the present source, if that is one to be read in order.
    fn passage(&self) -> Option<Passage> {
        let state = self.reader.state();
        let Opened::Hit(hit) = &state.opened else {
            return None;
        };
        let entry = &self.reader.cache.sources[hit.source];
        if entry.reads_ranges(&*hit.reader) {
            return None;
        }
        let bytes = verify(
            Arc::clone(&hit.reader).stream(0),
            entry.source.name(),
            &self.reader.layer,
        );
        let (bytes, source) = (skip(bytes, self.offset), hit.source);
        Some(Passage {
            bytes,
            state,
            source,
            begun: false,
        })
    }
}

//! Reads one file through the reader of its layer.

use std::sync::Arc;

use bytes::Bytes;
use cache_core::{ByteStream, Error, LayerReader, Result};
use futures_util::{StreamExt, stream};

use crate::{Entry, Extent, FileData};

/// Holes are handed out in pieces of this many bytes, all of which are this one.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// One regular file of a layer. Cheap to clone; holds the layer open.
#[derive(Clone, Debug)]
pub struct FileReader {
    layer: Arc<dyn LayerReader>,
    data: Arc<FileData>,
}

impl FileReader {
    /// Reads the file `entry` through `layer`, which must be a reader of the layer the entry is from
    /// ([`Node::layer`](crate::Node::layer)).
    ///
    /// # Errors
    /// [`Invalid`](cache_core::ErrorKind::Invalid) when the entry is no regular file.
    pub fn new(layer: Arc<dyn LayerReader>, entry: &Entry) -> Result<Self> {
        let data = entry.file().ok_or_else(|| Error::invalid("not a regular file"))?;
        Ok(Self {
            layer,
            data: Arc::new(data.clone()),
        })
    }

    /// Length of the file in bytes, holes included.
    pub fn len(&self) -> u64 {
        self.data.size()
    }

    /// Whether the file has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads at `offset` of the file until `buf` is full or the file ends, and returns how many bytes it read. Dropping the
    /// future cancels the read.
    ///
    /// # Errors
    /// Those of [`LayerReader::read_at`]; [`Corrupt`](cache_core::ErrorKind::Corrupt) when the layer ends before the file.
    pub async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let len = self.len().saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < len {
            let run = self.run_at(offset + done as u64);
            let part = &mut buf[done..len];
            let take = usize::try_from(run.len).map_or(part.len(), |run| run.min(part.len()));
            let part = &mut part[..take];
            match run.stored_at {
                Some(at) => {
                    if self.layer.read_at(at, part).await? != take {
                        return Err(cut_short());
                    }
                }
                None => part.fill(0),
            }
            done += take;
        }
        Ok(len)
    }

    /// `len` bytes from `offset` of the file, or what there is of them up to its end. It reads the layer's own stream, so a
    /// source without random access is asked once; its memory is one piece of that stream. Dropping it cancels.
    ///
    /// The stream ends with an error of [`FileReader::read_at`] when the bytes cannot be had. Behind the last byte of a file in
    /// a layer that is not known to be right before its end, it goes on to there, so that an error is not missed.
    pub fn stream(&self, offset: u64, len: u64) -> ByteStream {
        let end = offset.saturating_add(len).min(self.len());
        let state = Streaming {
            file: self.clone(),
            at: offset,
            end,
            stored: None,
        };
        stream::unfold(Some(state), async |state| {
            let mut state = state?;
            match state.next().await {
                Ok(None) => None,
                Ok(Some(piece)) => Some((Ok(piece), Some(state))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    /// The run of stored bytes or of zeros at `offset`, which lies inside the file.
    fn run_at(&self, offset: u64) -> Run {
        let extents = self.data.extents();
        let next = extents.partition_point(|extent| extent.start <= offset);
        let inside = next
            .checked_sub(1)
            .map(|last| extents[last])
            .and_then(|extent: Extent| {
                let skip = offset - extent.start;
                (skip < extent.len).then(|| Run {
                    len: extent.len - skip,
                    stored_at: Some(extent.offset + skip),
                })
            });
        let end = extents.get(next).map_or(self.len(), |extent| extent.start);
        inside.unwrap_or(Run {
            len: end - offset,
            stored_at: None,
        })
    }
}

/// Bytes of a file that are either all stored, one after the other, or all zero.
struct Run {
    len: u64,
    /// Offset in the layer.
    stored_at: Option<u64>,
}

/// A stream of a part of a file.
struct Streaming {
    file: FileReader,
    at: u64,
    end: u64,
    stored: Option<Stored>,
}

/// The layer's stream. The stored runs of a file stand in the layer back to back, so one stream serves all of them.
struct Stored {
    pieces: ByteStream,
    /// Whether what it hands out is known to be right. A reader that does not know its length yet finds that out at the
    /// end of the layer, so the stream has to go there behind the last byte of the file.
    proven: bool,
    /// What is left of the piece that came last.
    piece: Bytes,
}

impl Streaming {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.at >= self.end {
            if let Some(stored) = self.stored.as_mut().filter(|stored| !stored.proven) {
                while stored.pieces.next().await.transpose()?.is_some() {}
            }
            return Ok(None);
        }
        let run = self.file.run_at(self.at);
        let most = usize::try_from(run.len.min(self.end - self.at)).unwrap_or(usize::MAX);
        let piece = match run.stored_at {
            None => Bytes::from_static(&ZEROS[..most.min(ZEROS.len())]),
            Some(offset) => {
                let stored = self.stored.get_or_insert_with(|| Stored {
                    proven: self.file.layer.len().is_some(),
                    pieces: Arc::clone(&self.file.layer).stream(offset),
                    piece: Bytes::new(),
                });
                while stored.piece.is_empty() {
                    stored.piece = stored.pieces.next().await.ok_or_else(cut_short)??;
                }
                stored.piece.split_to(most.min(stored.piece.len()))
            }
        };
        self.at += piece.len() as u64;
        Ok(Some(piece))
    }
}

fn cut_short() -> Error {
    Error::corrupt("the layer ends in the middle of a file")
}

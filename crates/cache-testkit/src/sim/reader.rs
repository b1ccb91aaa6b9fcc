//! Reading a layer of a simulated source.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{ByteStream, Digest, Error, LayerReader, Result};
use futures_util::{StreamExt, stream};

use super::process::Process;
use super::script::{Play, Step, Trouble};

/// Length of the pieces of a stream.
const PIECE: usize = 500;

/// Where the bytes of an open layer are, from call to call.
pub(crate) trait Content: std::fmt::Debug + Send + Sync + 'static {
    /// What is there now; `None` when the layer has vanished.
    fn bytes(&self) -> Option<Bytes>;
    /// Makes the layer vanish.
    fn vanish(&self);
    /// Kept for as long as a stream lives.
    fn streaming(&self) -> Box<dyn Send>;
}

#[derive(Debug)]
pub(crate) struct SimReader<C> {
    pub(crate) name: &'static str,
    pub(crate) digest: Digest,
    pub(crate) play: Arc<Play>,
    pub(crate) process: Process,
    pub(crate) content: C,
    pub(crate) len: Option<u64>,
    /// Whether streams notice wrong bytes. Reads do in any case.
    pub(crate) verified: bool,
    pub(crate) random_access: bool,
}

impl<C: Content> SimReader<C> {
    fn place(&self, error: Error) -> Error {
        error.at(self.name, "read").of_layer(&self.digest)
    }

    /// One call: what is there, and how much of it is right.
    async fn call(&self, step: Step) -> Result<(Bytes, Option<Trouble>)> {
        let trouble = self.play.call(step, &self.process).await?;
        if trouble == Some(Trouble::Vanish) {
            self.content.vanish();
        }
        let gone = || Error::unavailable("the layer was evicted since it was opened");
        let bytes = self.content.bytes().ok_or_else(gone)?;
        Ok((bytes, trouble))
    }

    async fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let (bytes, trouble) = self.call(Step::Read).await?;
        let start = bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        let end = bytes.len().min(start + buf.len());
        match trouble {
            Some(Trouble::LoseAnswer) => return Err(Error::unavailable("the answer was lost")),
            Some(Trouble::CutAt(at)) if at < end as u64 => return Err(Error::unavailable("cut")),
            Some(Trouble::FlipAt(at)) if (start as u64..end as u64).contains(&at) => {
                return Err(Error::corrupt("a chunk is wrong"));
            }
            _ => {}
        }
        buf[..end - start].copy_from_slice(&bytes[start..end]);
        Ok(end - start)
    }

    async fn pieces(self: Arc<Self>, offset: u64) -> Vec<Result<Bytes>> {
        let (mut bytes, trouble) = match self.call(Step::Stream).await {
            Ok(found) => found,
            Err(error) => return vec![Err(self.place(error))],
        };
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let mut failure = None;
        match trouble {
            Some(Trouble::LoseAnswer) => {
                bytes.clear();
                failure = Some(Error::unavailable("the answer was lost"));
            }
            Some(Trouble::CutAt(at)) if at < bytes.len() as u64 => {
                bytes.truncate(index(at));
                failure = Some(Error::unavailable("cut"));
            }
            Some(Trouble::FlipAt(at)) if at < bytes.len() as u64 && self.verified => {
                // Whole pieces are verified, and those before the wrong one are handed out.
                bytes.truncate(index(at) / PIECE * PIECE);
                failure = Some(Error::corrupt("a chunk is wrong"));
            }
            Some(Trouble::FlipAt(at)) if at < bytes.len() as u64 => {
                let mut wrong = bytes.to_vec();
                wrong[index(at)] ^= 0x40;
                bytes = wrong.into();
            }
            _ => {}
        }
        let rest = bytes.slice(bytes.len().min(index(offset))..);
        let pieces = rest.chunks(PIECE).map(|piece| Ok(rest.slice_ref(piece)));
        let failure = failure.map(|error| Err(self.place(error)));
        pieces.chain(failure).collect()
    }
}

#[async_trait]
impl<C: Content> LayerReader for SimReader<C> {
    fn len(&self) -> Option<u64> {
        self.len
    }

    fn random_access(&self) -> bool {
        self.random_access
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.read(offset, buf).await.map_err(|error| self.place(error))
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        stream::once(async move {
            let streaming = self.content.streaming();
            let process = self.process.clone();
            let pieces = self.pieces(offset).await;
            stream::iter(pieces).then(move |piece| {
                let _ = &streaming;
                let process = process.clone();
                async move {
                    // Others get their turn between two pieces.
                    tokio::task::yield_now().await;
                    process.live().await;
                    piece
                }
            })
        })
        .flatten()
        .boxed()
    }
}

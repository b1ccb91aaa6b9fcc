//! The compressed bytes on their way from an async stream to the thread that inflates them.

use std::io::{self, BufRead, Read};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;

use super::format::SNIFF_LEN;
use crate::digest::DigestHasher;
use crate::runtime::mpsc;
use crate::verify::hash;
use crate::{ByteStream, Digest, Error, LayerDescriptor, Result};

/// Longest piece of a blob handed on, in bytes: with the capacity of the channels it bounds what is in flight.
const PIECE_LEN: usize = 256 * 1024;

/// Receives a blob, hashes it, checks digest and size, and hands it to `pieces`. The last message is an error unless all
/// of the blob was right; a closed channel after `Ok` pieces alone never means a whole blob (see [`Piece::End`]).
pub(super) async fn receive(
    mut blob: ByteStream,
    layer: LayerDescriptor,
    pieces: mpsc::Sender<Result<Piece>>,
) {
    let mut hasher = DigestHasher::new(layer.digest.algorithm());
    let mut received = 0u64;
    let end = loop {
        match blob.next().await {
            None => break check(&layer, received, hasher.finish()).map(|()| Piece::End),
            Some(Err(error)) => break Err(error),
            Some(Ok(mut bytes)) => {
                received += bytes.len() as u64;
                if layer.size.is_some_and(|size| received > size) {
                    break Err(Error::corrupt(format!(
                        "the blob is longer than the {} bytes its descriptor says",
                        layer.size.unwrap_or_default()
                    )));
                }
                while !bytes.is_empty() {
                    let piece = bytes.split_to(bytes.len().min(PIECE_LEN));
                    hash(&mut hasher, &piece).await;
                    if pieces.send(Ok(Piece::Bytes(piece))).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    // Nobody listens any more when the inflating thread has failed or was dropped: then the end matters to nobody.
    let _ = pieces.send(end).await;
}

fn check(layer: &LayerDescriptor, received: u64, digest: Digest) -> Result<()> {
    match layer.size {
        Some(size) if size != received => Err(Error::corrupt(format!(
            "the blob ends after {received} of the {size} bytes its descriptor says"
        ))),
        _ if digest != layer.digest => Err(Error::corrupt(format!(
            "the blob has digest {digest}: the origin served other bytes than the manifest names"
        ))),
        _ => Ok(()),
    }
}

/// What travels from [`receive`] to [`Input`].
#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Bytes),
    /// The blob is complete, and is what its descriptor says.
    End,
}

/// The receiving end as a blocking reader.
///
/// Its errors carry the [`Error`] of the blob's stream: see [`into_error`].
#[derive(Debug)]
pub(super) struct Input {
    pieces: mpsc::Receiver<Result<Piece>>,
    current: Bytes,
    ended: bool,
    waited: Duration,
}

impl Input {
    pub(super) fn new(pieces: mpsc::Receiver<Result<Piece>>) -> Self {
        Self {
            pieces,
            current: Bytes::new(),
            ended: false,
            waited: Duration::ZERO,
        }
    }

    /// The first bytes of the blob, without consuming them: [`SNIFF_LEN`], or all when the blob is shorter.
    pub(super) fn peek(&mut self) -> io::Result<&[u8]> {
        while self.current.len() < SNIFF_LEN && !self.ended {
            let head = std::mem::take(&mut self.current);
            self.fill_buf()?;
            if !head.is_empty() {
                self.current = [head, std::mem::take(&mut self.current)].concat().into();
            }
        }
        Ok(&self.current)
    }

    /// How long it has waited for bytes to come.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() && !self.ended {
            let start = Instant::now();
            let piece = self.pieces.blocking_recv();
            self.waited += start.elapsed();
            match piece {
                Some(Ok(Piece::Bytes(bytes))) => self.current = bytes,
                Some(Ok(Piece::End)) => self.ended = true,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => {
                    return Err(io::Error::other(Error::unavailable(
                        "receiving the blob was given up",
                    )));
                }
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, amount: usize) {
        self.current.advance(amount);
    }
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let take = available.len().min(buf.len());
        buf[..take].copy_from_slice(&available[..take]);
        self.consume(take);
        Ok(take)
    }
}

/// What went wrong while reading through a decoder: the error of the blob's stream, or else the decoder's own, which means
/// that the blob is not valid `format`.
pub(super) fn into_error(error: io::Error, format: &str) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::corrupt(format!(
            "the blob is not a valid {format} stream: it was pushed damaged, or is damaged on the way"
        ))
        .caused_by(error),
    }
}

//! Chunks by ranges of the layer's object.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cache_core::chunked::{ChunkStore, FetchPlan};
use cache_core::guard::pause;
use cache_core::index::CHUNK_LEN;
use cache_core::{Error, Result};
use tokio::time::{sleep, timeout};

use crate::bucket::{Bucket, Object, Part};

/// Of a stream: 8 MiB on their way.
pub(crate) const PLAN: FetchPlan = FetchPlan {
    chunks_per_fetch: 4,
    in_flight: 4,
};

/// Answers in a row that bring not a byte, before a fetch is given up.
const MAX_VAIN: u32 = 3;
/// The pause after the first vain answer, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(100);
/// A fetch lasts no longer than this many time-outs, however the bytes drip.
const MAX_TIMEOUTS: u32 = 6;

/// The object of one open layer, which it must still be when a range is read.
#[derive(Debug)]
pub(crate) struct S3Chunks {
    bucket: Arc<Bucket>,
    key: String,
    object: Object,
}

impl S3Chunks {
    pub(crate) fn new(bucket: Arc<Bucket>, key: String, object: Object) -> Self {
        Self { bucket, key, object }
    }

    /// An answer that is cut is resumed where it ended.
    async fn fill(&self, landing: &mut Landing) -> Result<()> {
        let mut vain = 0;
        while let Some((first, last)) = landing.missing() {
            let etag = self.object.etag.as_deref();
            let part = self.bucket.range(&self.key, etag, first, last).await?;
            self.check(&part, first, last)?;
            self.receive(part, landing).await?;
            match landing.missing() {
                Some((now, _)) if now == first => {
                    vain += 1;
                    if vain == MAX_VAIN {
                        return Err(Error::unavailable(
                            "the layer was cut on the way, again and again",
                        ));
                    }
                    sleep(pause(FIRST_PAUSE, LAST_PAUSE, vain - 1)).await;
                }
                _ => vain = 0,
            }
        }
        Ok(())
    }

    fn check(&self, part: &Part, first: u64, last: u64) -> Result<()> {
        let Some(range) = &part.range else {
            return Err(Error::unavailable(
                "the server answered a range with the whole layer",
            ));
        };
        match parse_content_range(range) {
            Some((from, to, len)) if (from, to) == (first, last) => match len {
                Some(len) if len != self.object.len => Err(Error::unavailable(
                    "the layer was replaced or removed since it was opened",
                )),
                _ => Ok(()),
            },
            _ => Err(Error::unavailable(
                "the server answered with another range than it was asked for",
            )),
        }
    }

    /// Returns at the end of the body, however it ended.
    async fn receive(&self, mut part: Part, landing: &mut Landing) -> Result<()> {
        while landing.missing().is_some() {
            match timeout(self.bucket.config.timeout, part.body.next()).await {
                Ok(Some(Ok(piece))) => landing.take(piece)?,
                Ok(Some(Err(_)) | None) | Err(_) => break,
            }
        }
        Ok(())
    }
}

#[async_trait]
impl ChunkStore for S3Chunks {
    async fn fetch(&self, chunks: Range<usize>) -> Result<Vec<Bytes>> {
        let mut landing = Landing::new(&chunks, self.object.len);
        timeout(self.bucket.config.timeout * MAX_TIMEOUTS, self.fill(&mut landing))
            .await
            .unwrap_or_else(|_| Err(Error::unavailable("the server sends the layer too slowly")))?;
        Ok(landing.landed)
    }
}

/// Where the bytes of a range go: a buffer of its own for each chunk, so that a chunk that is kept holds no others.
#[derive(Debug)]
struct Landing {
    /// Offset of the next byte in the layer, and the end of the range.
    next: u64,
    end: u64,
    landed: Vec<Bytes>,
    /// The chunk that the next byte belongs to, as far as it has come.
    chunk: BytesMut,
}

impl Landing {
    fn new(chunks: &Range<usize>, len: u64) -> Self {
        let offset = |chunk: usize| (chunk as u64).saturating_mul(CHUNK_LEN.into()).min(len);
        Self {
            next: offset(chunks.start),
            end: offset(chunks.end),
            landed: Vec::with_capacity(chunks.len()),
            chunk: BytesMut::new(),
        }
    }

    /// The first and the last byte that have not come yet.
    fn missing(&self) -> Option<(u64, u64)> {
        (self.next < self.end).then(|| (self.next, self.end - 1))
    }

    /// Takes the next bytes.
    fn take(&mut self, mut piece: Bytes) -> Result<()> {
        if piece.len() as u64 > self.end - self.next {
            return Err(Error::unavailable("the server sent more than it was asked for"));
        }
        while !piece.is_empty() {
            let chunk_len = u64::from(CHUNK_LEN);
            let left_of_chunk = (chunk_len - self.next % chunk_len).min(self.end - self.next);
            let part = piece.split_to(piece.len().min(left_of_chunk as usize));
            if self.chunk.is_empty() {
                self.chunk.reserve(left_of_chunk as usize);
            }
            self.chunk.extend_from_slice(&part);
            self.next += part.len() as u64;
            if part.len() as u64 == left_of_chunk {
                self.landed.push(std::mem::take(&mut self.chunk).freeze());
            }
        }
        Ok(())
    }
}

/// First, last and length of `bytes <first>-<last>/<length>`, where the length may be `*`.
fn parse_content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, len) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let len = match len {
        "*" => None,
        len => Some(len.parse().ok()?),
    };
    Some((first.parse().ok()?, last.parse().ok()?, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_of_any_size_land_in_their_chunks(
            len in 1usize..(4 * CHUNK_LEN as usize),
            start in 0usize..4,
            pieces in prop::collection::vec(1usize..(CHUNK_LEN as usize), 1..8),
        ) {
            let chunk_len = CHUNK_LEN as usize;
            let layer: Bytes = (0..len).map(|at| (at % 251) as u8).collect();
            let chunks = layer.chunks(chunk_len);
            let start = start.min(chunks.len() - 1);
            let mut landing = Landing::new(&(start..chunks.len()), len as u64);
            let mut pieces = pieces.iter().cycle();
            while let Some((first, last)) = landing.missing() {
                prop_assert_eq!(last, len as u64 - 1);
                let first = first as usize;
                let end = (first + pieces.next().unwrap()).min(len);
                landing.take(layer.slice(first..end)).unwrap();
            }
            let expected: Vec<&[u8]> = chunks.skip(start).collect();
            prop_assert_eq!(&landing.landed, &expected);
            prop_assert!(landing.take(Bytes::from_static(b"x")).is_err());
        }
    }

    #[test]
    fn a_content_range_is_read() {
        assert_eq!(parse_content_range("bytes 0-9/10"), Some((0, 9, Some(10))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, 9, None)));
        for wrong in [
            "",
            "bytes */10",
            "bytes 0-9",
            "0-9/10",
            "bytes a-9/10",
            "bytes 0-9/x",
        ] {
            assert_eq!(parse_content_range(wrong), None, "{wrong}");
        }
    }
}

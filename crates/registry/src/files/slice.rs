//! A range of an open file, as a blob or as a document.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::inflate::{BlobReader, check_range};
use cache_core::{ByteStream, Error, Result};
use futures_util::{StreamExt, stream};

use super::blocking;
use crate::OriginStats;

/// How much is read at once, in bytes.
const PIECE: u64 = 256 << 10;

/// Part of a file, or all of it.
#[derive(Clone, Debug)]
pub(super) struct FileSlice {
    file: Arc<File>,
    offset: u64,
    len: u64,
    stats: OriginStats,
}

impl FileSlice {
    /// The bytes `offset..offset + len`, which must not overflow. Counts as a request.
    pub(super) fn new(file: Arc<File>, offset: u64, len: u64, stats: OriginStats) -> Self {
        stats.count_request();
        Self {
            file,
            offset,
            len,
            stats,
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// All of it, if it has at most `limit` bytes. Blocks.
    pub(super) fn read_all(&self, limit: u64, what: &str) -> Result<Bytes> {
        if self.len > limit {
            return Err(Error::permanent(format!(
                "{what} has {} bytes, more than {limit}",
                self.len
            )));
        }
        self.read(0, self.len)
    }

    /// Its first bytes, at most `len`. Blocks.
    pub(super) fn head(&self, len: u64) -> Result<Bytes> {
        self.read(0, len.min(self.len))
    }

    fn read(&self, at: u64, len: u64) -> Result<Bytes> {
        let mut buf = vec![0; len as usize];
        self.file
            .read_exact_at(&mut buf, self.offset + at)
            .map_err(|error| {
                let what = match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => "the file became shorter while it was read",
                    _ => "the file cannot be read",
                };
                Error::unavailable(what).caused_by(error)
            })?;
        self.stats.count_bytes(buf.len());
        Ok(Bytes::from(buf))
    }
}

#[async_trait]
impl BlobReader for FileSlice {
    fn stream(self: Arc<Self>) -> ByteStream {
        stream::try_unfold(0, move |at| {
            let slice = Arc::clone(&self);
            async move {
                let len = PIECE.min(slice.len - at);
                if len == 0 {
                    return Ok(None);
                }
                let piece = blocking(move || slice.read(at, len)).await?;
                Ok(Some((piece, at + len)))
            }
        })
        .boxed()
    }

    async fn fetch(self: Arc<Self>, range: Range<u64>) -> Result<Option<Bytes>> {
        check_range(&range, Some(self.len))?;
        blocking(move || self.read(range.start, range.end - range.start))
            .await
            .map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use cache_core::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn a_range_of_a_slice_is_read_and_nothing_outside_it() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before the slice after").unwrap();
        let slice = FileSlice::new(Arc::new(file), 7, 9, OriginStats::new("files"));
        let slice = Arc::new(slice);
        for (range, expected) in [(0..9, "the slice"), (4..9, "slice"), (3..3, ""), (9..9, "")] {
            let fetched = Arc::clone(&slice).fetch(range).await.unwrap();
            assert_eq!(fetched.unwrap(), expected);
        }
        for wrong in [0..10, 10..10, 5..u64::MAX] {
            let error = Arc::clone(&slice).fetch(wrong).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
        slice.file.set_len(10).unwrap();
        let error = slice.fetch(0..9).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

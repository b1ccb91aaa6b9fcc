//! Reading a layer's file, while it is written and after.

use std::fs::{File, TryLockError};
use std::io::{self, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{ByteStream, Digest, Error, LayerReader, Result};
use futures_util::{StreamExt, future, stream};
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, ReadWriteFlags};

use crate::dir::handle::Handle;
use crate::failure::{blocking, failure};

/// How much is read at once where the disk has to be waited for, in bytes. Such a read allocates as
/// much.
const PIECE_LEN: usize = 256 * 1024;
/// How much is copied from the page cache before other tasks get their turn, in bytes: 20 to 50 us.
/// To give up a turn takes about 1 us.
const CACHED_LEN: usize = 512 * 1024;

/// How often a reader tries to lock its layer: a process that looks for open layers has the lock
/// for a moment.
const LOCK_TRIES: usize = 3;

/// An open layer. It holds the file's descriptor, so its bytes stay readable after the name is
/// gone.
#[derive(Debug)]
pub(crate) struct DiskReader {
    tier: Arc<str>,
    digest: Digest,
    dir: Arc<Handle>,
    file: Arc<File>,
    /// How many bytes are there to read. Grows while the layer is written, then never changes.
    written: AtomicU64,
    /// Set once `written` is the length of the layer.
    complete: AtomicBool,
}

impl DiskReader {
    /// Makes a reader of a committed layer of `len` bytes, which does not [keep](Self::keep) it.
    pub(crate) fn committed(
        tier: &Arc<str>,
        digest: Digest,
        dir: Arc<Handle>,
        file: Arc<File>,
        len: u64,
    ) -> Self {
        let reader = Self::growing(tier, digest, dir, file);
        reader.grow_to(len);
        reader.complete.store(true, Release);
        reader
    }

    /// Makes a reader of a layer of which nothing is written yet.
    pub(crate) fn growing(tier: &Arc<str>, digest: Digest, dir: Arc<Handle>, file: Arc<File>) -> Self {
        let tier = Arc::clone(tier);
        Self {
            tier,
            digest,
            dir,
            file,
            written: AtomicU64::new(0),
            complete: AtomicBool::new(false),
        }
    }

    /// Notes that the first `written` bytes are in the file.
    pub(crate) fn grow_to(&self, written: u64) {
        self.written.store(written, Release);
    }

    /// Notes that all of the layer is written, and keeps it.
    pub(crate) fn end(&self) {
        self.keep();
        self.complete.store(true, Release);
    }

    /// Takes a shared lock on the file. It tells processes that need room on the disk that removing
    /// the layer frees none. A reader goes on without the lock where it is not to be had.
    pub(crate) fn keep(&self) {
        for _ in 0..LOCK_TRIES {
            if !matches!(self.file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::yield_now();
        }
    }

    /// Reads from the page cache, on the caller's thread; `None` when the kernel would have to wait
    /// for the disk.
    fn read_cached(&self, offset: u64, buf: &mut [u8]) -> Option<usize> {
        if !self.dir.nowait.load(Relaxed) {
            return None;
        }
        let bufs = &mut [IoSliceMut::new(buf)];
        match rustix::io::preadv2(&self.file, bufs, offset, ReadWriteFlags::NOWAIT) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.dir.nowait.store(false, Relaxed);
                None
            }
            // The read that may wait judges an empty read, and every other error.
            read => read.ok().filter(|read| *read > 0),
        }
    }

    /// Reads exactly `len` bytes, off the runtime's threads.
    async fn read_waiting(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let file = Arc::clone(&self.file);
        // Allocated here: an allocator keeps memory for each thread, and there are many blocking
        // ones.
        let bytes = Vec::with_capacity(len);
        let read = blocking(move || fill_from(&file, offset, len, bytes)).await;
        let bytes = read.and_then(|read| read.map_err(|error| failure("read the layer", error)));
        let bytes = bytes.map_err(|error| self.place(error))?;
        if bytes.len() < len {
            let end = offset + bytes.len() as u64;
            return Err(self.place(Error::corrupt(format!("the layer's file was cut at byte {end}"))));
        }
        Ok(bytes)
    }

    fn place(&self, error: Error) -> Error {
        error.at(&self.tier, "read").of_layer(&self.digest)
    }
}

#[async_trait]
impl LayerReader for DiskReader {
    fn len(&self) -> Option<u64> {
        self.complete.load(Acquire).then(|| self.written.load(Acquire))
    }

    fn random_access(&self) -> bool {
        true
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let there = self.written.load(Acquire).saturating_sub(offset);
        let len = usize::try_from(there).map_or(buf.len(), |there| there.min(buf.len()));
        let mut rest = &mut buf[..len];
        let mut offset = offset;
        while !rest.is_empty() {
            let cached = rest.len().min(CACHED_LEN);
            let read = match self.read_cached(offset, &mut rest[..cached]) {
                Some(read) => read,
                None => {
                    let piece = cached.min(PIECE_LEN);
                    rest[..piece].copy_from_slice(&self.read_waiting(offset, piece).await?);
                    piece
                }
            };
            offset += read as u64;
            rest = &mut rest[read..];
            if !rest.is_empty() {
                tokio::task::yield_now().await;
            }
        }
        Ok(len)
    }

    /// Streams the layer. While it is being written, the stream ends with an `Unavailable` error
    /// where the written part ends: that is not the layer's end.
    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let mut next = offset;
        let reader = Arc::clone(&self);
        let pieces = std::iter::from_fn(move || {
            let complete = self.complete.load(Acquire);
            let there = self.written.load(Acquire).saturating_sub(next);
            let len = usize::try_from(there).map_or(PIECE_LEN, |there| there.min(PIECE_LEN));
            let piece = (next, len);
            next = next.saturating_add(len as u64);
            (len > 0 || !complete).then_some(piece)
        });
        let read = move |(offset, len)| {
            let reader = Arc::clone(&reader);
            async move {
                if len == 0 {
                    return Err(reader.place(Error::unavailable("the layer is still being written")));
                }
                reader.read_waiting(offset, len).await.map(Bytes::from)
            }
        };
        let mut failed = false;
        let until_failed = move |piece: &Result<Bytes>| {
            let go_on = !failed;
            failed = piece.is_err();
            future::ready(go_on)
        };
        // Two at once: the piece that is waited for and the one after it.
        stream::iter(pieces)
            .map(read)
            .buffered(2)
            .take_while(until_failed)
            .boxed()
    }
}

/// Reads `len` bytes, or fewer when the file ends before.
pub(crate) fn read_up_to(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    fill_from(file, offset, len, Vec::with_capacity(len))
}

/// Reads as [`read_up_to`] does, into `bytes`, which is empty and has room for `len`.
fn fill_from(file: &File, offset: u64, len: usize, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    while bytes.len() < len {
        let at = offset + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The capacity may be larger than what was asked for.
    bytes.truncate(len);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use cache_core::LayerReaderExt;

    use super::*;
    use crate::dir::directory::tests::opened;
    use crate::dir::publish::NewFile;

    fn reader(root: &tempfile::TempDir, bytes: &[u8]) -> DiskReader {
        let dir = opened(root.path());
        let file = Arc::clone(NewFile::holding(&dir, bytes).unwrap().file());
        DiskReader::committed(
            &"disk".into(),
            Digest::sha256_of(b"blob"),
            dir,
            file,
            bytes.len() as u64,
        )
    }

    #[tokio::test]
    async fn a_kernel_without_nowait_reads_the_same_bytes() {
        let root = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..3 * CACHED_LEN + 17).map(|n| (n % 251) as u8).collect();
        let reader = reader(&root, &bytes);
        for nowait in [true, false] {
            reader.dir.nowait.store(nowait, Relaxed);
            for (offset, len) in [(0, bytes.len()), (5, 10), (PIECE_LEN - 1, CACHED_LEN + 2)] {
                let read = reader.read_bytes(offset as u64, len).await.unwrap();
                assert_eq!(read, bytes[offset..offset + len]);
            }
        }
    }

    #[test]
    fn what_is_in_the_page_cache_is_read_where_it_is_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let reader = reader(&root, b"the layer");
        let mut buf = [0; 9];
        assert_eq!(reader.read_cached(0, &mut buf), Some(9));
        assert_eq!(&buf, b"the layer");
        // Past the end: for the read that waits to judge.
        assert_eq!(reader.read_cached(9, &mut buf), None);
        reader.dir.nowait.store(false, Relaxed);
        assert_eq!(reader.read_cached(0, &mut buf), None);
    }

    #[tokio::test]
    async fn a_file_that_was_cut_is_corrupt_from_there_on() {
        let root = tempfile::tempdir().unwrap();
        let reader = reader(&root, &[7; 100]);
        reader.file.set_len(30).unwrap();
        let error = reader.read_bytes(20, 40).await.unwrap_err();
        assert_eq!(error.kind(), cache_core::ErrorKind::Corrupt);
        assert!(error.to_string().contains("cut at byte 30"), "{error}");
    }
}

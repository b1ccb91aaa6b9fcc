//! The memory of all writers of a tier: parts that are gathered or on their way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{Error, Result};
use memmap2::MmapMut;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Length of every part but the last: the shortest that S3 allows, and equal ones, as some servers want them. The memory of a
/// tier that is written to is a multiple of it, and the most parts an upload may have make up the longest layer.
pub(crate) const PART_LEN: usize = 5 << 20;

/// Parts in memory of one tier, for all its writers. Gathering one takes a fraction of the time that sending one takes, so two are on
/// their way most of the time.
const PART_BUFFERS: usize = 2;

/// A writer waits no longer than this many time-outs for a buffer: as long as the others take for theirs.
const MAX_TIMEOUTS: u32 = 12;

/// The part buffers of a tier.
#[derive(Clone, Debug)]
pub(crate) struct PartBuffers(Arc<Semaphore>);

impl PartBuffers {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(PART_BUFFERS)))
    }

    /// Waits for a buffer that no other writer needs, for so many time-outs. Who waits holds none: writers cannot block each
    /// other for ever.
    pub(crate) async fn acquire(&self, patience: Duration) -> Result<PartBuffer> {
        let permit = timeout(patience * MAX_TIMEOUTS, Arc::clone(&self.0).acquire_owned());
        let Ok(Ok(permit)) = permit.await else {
            return Err(Error::unavailable(
                "other layers that are written take up all buffers",
            ));
        };
        // Straight from the system, and back to it: an allocator that has seen blocks of this size keeps several times as much for
        // the next ones, on each thread.
        let memory = MmapMut::map_anon(PART_LEN)
            .map_err(|error| Error::unavailable("there is no memory for a part").caused_by(error))?;
        Ok(PartBuffer {
            memory,
            len: 0,
            _permit: permit,
        })
    }
}

/// One part while it is gathered, and while it is sent.
pub(crate) struct PartBuffer {
    memory: MmapMut,
    len: usize,
    _permit: OwnedSemaphorePermit,
}

impl PartBuffer {
    pub(crate) fn is_full(&self) -> bool {
        self.len == PART_LEN
    }

    /// Takes what fits off the front of `bytes`.
    pub(crate) fn take_from(&mut self, bytes: &mut Bytes) {
        let fits = bytes.split_to(bytes.len().min(PART_LEN - self.len));
        self.memory[self.len..self.len + fits.len()].copy_from_slice(&fits);
        self.len += fits.len();
    }

    /// The part. Its place is free for others when nobody looks at it any more.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for PartBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl fmt::Debug for PartBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartBuffer").field("len", &self.len).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::ErrorKind;

    const PATIENCE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_tier_has_so_many_buffers_and_no_more() {
        let buffers = PartBuffers::new();
        let mut held = Vec::new();
        for _ in 0..PART_BUFFERS {
            held.push(buffers.acquire(PATIENCE).await.unwrap());
        }
        let error = buffers.acquire(PATIENCE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let (waiting, ()) = tokio::join!(buffers.acquire(PATIENCE), async { drop(held.pop()) });
        assert!(waiting.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_holds_its_place_for_as_long_as_anybody_looks_at_it() {
        let buffers = PartBuffers::new();
        let mut gathered = buffers.acquire(PATIENCE).await.unwrap();
        let mut bytes: Bytes = (0..PART_LEN + 5)
            .map(|at| (at % 251) as u8)
            .collect::<Vec<_>>()
            .into();
        let whole = bytes.clone();
        gathered.take_from(&mut bytes.split_to(3));
        assert!(!gathered.is_full());
        gathered.take_from(&mut bytes);
        assert!(gathered.is_full());
        assert_eq!(bytes, whole[PART_LEN..]);

        let part = gathered.freeze();
        let seen = part.slice(7..9);
        assert!(part == whole[..PART_LEN]);
        drop(part);
        let _other = buffers.acquire(PATIENCE).await.unwrap();
        assert!(buffers.acquire(PATIENCE).await.is_err());
        drop(seen);
        assert!(buffers.acquire(PATIENCE).await.is_ok());
    }
}

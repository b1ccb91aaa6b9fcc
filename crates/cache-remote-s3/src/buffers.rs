//! The memory of all writers of a tier: parts that are gathered or on their way.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cache_core::{Error, Result};
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
///
/// They go from part to part while anybody writes: an allocator that gets blocks of this size back on one thread and is asked
/// for them on another keeps several times as much.
#[derive(Debug)]
pub(crate) struct PartBuffers {
    permits: Arc<Semaphore>,
    /// A std mutex: held for a push or a pop.
    idle: Mutex<Vec<BytesMut>>,
}

impl PartBuffers {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(PART_BUFFERS)),
            idle: Mutex::default(),
        })
    }

    /// Waits for a buffer that no other writer needs, for so many time-outs. Who waits holds none: writers cannot block each
    /// other for ever.
    pub(crate) async fn acquire(self: &Arc<Self>, patience: Duration) -> Result<PartBuffer> {
        let permit = timeout(patience * MAX_TIMEOUTS, Arc::clone(&self.permits).acquire_owned());
        let Ok(Ok(permit)) = permit.await else {
            return Err(Error::unavailable(
                "other layers that are written take up all buffers",
            ));
        };
        let idle = self.idle().pop();
        Ok(PartBuffer {
            bytes: idle.unwrap_or_else(|| BytesMut::with_capacity(PART_LEN)),
            lease: Lease {
                buffers: Arc::clone(self),
                permit: Some(permit),
            },
        })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<BytesMut>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one buffer.
#[derive(Debug)]
pub(crate) struct Lease {
    buffers: Arc<PartBuffers>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Lease {
    /// Gives back what the part was in, unless somebody still looks at it.
    pub(crate) fn give_back(self, part: Bytes) {
        if let Ok(mut part) = part.try_into_mut()
            && part.capacity() >= PART_LEN
        {
            part.clear();
            self.buffers.idle().push(part);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.permit = None;
        // Nobody writes: the memory is for others.
        if self.buffers.permits.available_permits() == PART_BUFFERS {
            self.buffers.idle().clear();
        }
    }
}

/// One part while it is gathered.
pub(crate) struct PartBuffer {
    bytes: BytesMut,
    lease: Lease,
}

impl PartBuffer {
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() == PART_LEN
    }

    /// Takes what fits off the front of `bytes`.
    pub(crate) fn take_from(&mut self, bytes: &mut Bytes) {
        let fits = bytes.len().min(PART_LEN - self.bytes.len());
        self.bytes.extend_from_slice(&bytes.split_to(fits));
    }

    /// The part, and the right to hold it in memory.
    pub(crate) fn freeze(self) -> (Bytes, Lease) {
        (self.bytes.freeze(), self.lease)
    }
}

impl fmt::Debug for PartBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartBuffer")
            .field("len", &self.bytes.len())
            .finish()
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

    #[tokio::test]
    async fn a_buffer_goes_from_part_to_part_until_nobody_writes() {
        let buffers = PartBuffers::new();
        let mut gathered = buffers.acquire(PATIENCE).await.unwrap();
        let mut bytes = Bytes::from(vec![1; PART_LEN + 5]);
        gathered.take_from(&mut bytes);
        assert!(gathered.is_full() && bytes.len() == 5);
        let (part, lease) = gathered.freeze();
        let (address, other) = (part.as_ptr(), buffers.acquire(PATIENCE).await.unwrap());
        lease.give_back(part);
        let mut again = buffers.acquire(PATIENCE).await.unwrap();
        again.take_from(&mut bytes);
        let (part, lease) = again.freeze();
        assert_eq!((part.as_ptr(), &part[..]), (address, &[1; 5][..]));
        lease.give_back(part);
        assert_eq!(buffers.idle().len(), 1);
        drop(other);
        assert!(buffers.idle().is_empty());
    }
}

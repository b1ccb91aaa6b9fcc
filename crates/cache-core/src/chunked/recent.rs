//! The chunks that were read last.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::index::ChunkHash;

/// A few verified chunks, shared by all readers of a tier: many small reads in a row need one chunk, which is then fetched
/// once. Found by their hash, so there is nothing to go stale.
#[derive(Debug)]
pub struct RecentChunks {
    capacity: usize,
    /// The latest last. A std mutex: held for a look at a few hashes.
    chunks: Mutex<VecDeque<(ChunkHash, Bytes)>>,
}

impl RecentChunks {
    /// Holds at most `capacity` chunks of 512 KiB; with 0 none.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            chunks: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(ChunkHash, Bytes)>> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, hash: &ChunkHash) -> Option<Bytes> {
        let mut chunks = self.lock();
        let at = chunks.iter().position(|(present, _)| present == hash)?;
        let found = chunks.remove(at)?;
        let bytes = found.1.clone();
        chunks.push_back(found);
        Some(bytes)
    }

    /// `bytes` have this hash.
    pub(super) fn put(&self, hash: ChunkHash, bytes: Bytes) {
        let mut chunks = self.lock();
        if self.capacity == 0 || chunks.iter().any(|(present, _)| *present == hash) {
            return;
        }
        if chunks.len() >= self.capacity {
            chunks.pop_front();
        }
        chunks.push_back((hash, bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let recent = RecentChunks::new(2);
        let bytes = |byte| Bytes::from(vec![byte]);
        recent.put([1; 32], bytes(1));
        recent.put([2; 32], bytes(2));
        assert_eq!(recent.get(&[1; 32]), Some(bytes(1)));
        recent.put([3; 32], bytes(3));
        assert_eq!(recent.get(&[2; 32]), None);
        assert_eq!(recent.get(&[1; 32]), Some(bytes(1)));
        assert_eq!(recent.get(&[3; 32]), Some(bytes(3)));
    }

    #[test]
    fn no_capacity_keeps_nothing() {
        let recent = RecentChunks::new(0);
        recent.put([1; 32], Bytes::from_static(b"x"));
        assert_eq!(recent.get(&[1; 32]), None);
    }
}

//! What a file holds: now, and after a power loss.

use std::ops::Range;

/// The bytes of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Range<usize>>,
    /// A sync has failed, and with it all later ones.
    lost: bool,
}

impl Contents {
    /// Of a file that was there before.
    pub(super) fn durable(bytes: &[u8]) -> Self {
        Self {
            now: bytes.to_vec(),
            synced: bytes.to_vec(),
            ..Self::default()
        }
    }

    pub(super) fn now(&self) -> &Vec<u8> {
        &self.now
    }

    pub(super) fn synced(&self) -> &Vec<u8> {
        &self.synced
    }

    /// Writes at an offset, or at the end.
    pub(super) fn write(&mut self, offset: Option<usize>, bytes: &[u8]) {
        let offset = offset.unwrap_or(self.now.len());
        let end = offset + bytes.len();
        if self.now.len() < end {
            self.now.resize(end, 0);
        }
        self.now[offset..end].copy_from_slice(bytes);
        self.unsynced.push(offset..end);
    }

    pub(super) fn fail_to_sync(&mut self) {
        self.lost |= !self.unsynced.is_empty();
    }

    pub(super) fn resize(&mut self, len: usize) {
        let old = self.now.len();
        self.now.resize(len, 0);
        self.unsynced.push(old.min(len)..old.max(len));
    }

    pub(super) fn sync(&mut self) {
        if !self.lost {
            self.synced.clone_from(&self.now);
            self.unsynced.clear();
        }
    }

    pub(super) fn is_durable(&self) -> bool {
        self.synced == self.now
    }

    /// The length was kept, and of the bytes those that were synced.
    pub(super) fn zeroed(&self) -> Vec<u8> {
        let mut bytes = self.now.clone();
        for range in &self.unsynced {
            let end = range.end.min(bytes.len());
            bytes[range.start.min(end)..end].fill(0);
        }
        bytes
    }
}

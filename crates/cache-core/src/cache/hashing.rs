//! Hashing a layer beside writing it. It is a stage with a thread of its own: handing each piece to a thread and waiting for it would
//! cost a core as much time as the hash.

use bytes::Bytes;

use super::early::EarlyBytes;
use crate::runtime::{JoinHandle, mpsc, spawn_blocking};
use crate::{Error, IndexBuilder, Result};

/// Pieces that wait to be hashed.
const QUEUE_LEN: usize = 2;

/// A layer being hashed, and compared on the way with what was read early of other fills. Dropping it ends the thread.
pub(super) struct Hashing {
    pieces: mpsc::Sender<Bytes>,
    hashed: JoinHandle<(IndexBuilder, EarlyBytes)>,
}

impl Hashing {
    pub(super) fn start(mut index: IndexBuilder, mut early: EarlyBytes) -> Self {
        let (pieces, mut queue) = mpsc::channel::<Bytes>(QUEUE_LEN);
        let hashed = spawn_blocking(move || {
            while let Some(mut piece) = queue.blocking_recv() {
                while let Some(boundary) = early.boundary(index.len(), piece.len()) {
                    index.update(&piece.split_to(boundary));
                    early.compare(&index);
                }
                index.update(&piece);
            }
            (index, early)
        });
        Self { pieces, hashed }
    }

    /// The next piece. Waits only where hashing does not keep up.
    pub(super) async fn push(&self, piece: Bytes) -> Result<()> {
        self.pieces
            .send(piece)
            .await
            .map_err(|_| Error::unavailable("hashing the layer was given up"))
    }

    /// Waits until all pieces are hashed.
    pub(super) async fn finish(self) -> Result<(IndexBuilder, EarlyBytes)> {
        drop(self.pieces);
        self.hashed
            .await
            .map_err(|error| Error::unavailable("hashing the layer panicked").caused_by(error))
    }
}

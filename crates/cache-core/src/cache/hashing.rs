//! Hashing a layer beside writing it: the next piece comes and is written while the last one is hashed.

use bytes::Bytes;

use super::early::EarlyBytes;
use crate::runtime::{JoinHandle, spawn_blocking};
use crate::verify::INLINE_HASH_LEN;
use crate::{Error, IndexBuilder, Result};

/// A layer being hashed, and compared on the way with what was read early of other fills.
pub(super) struct Hashing {
    /// `None` while a thread goes on with it, and after one has panicked.
    hashed: Option<Hashed>,
    running: Option<JoinHandle<Hashed>>,
}

struct Hashed {
    index: IndexBuilder,
    early: EarlyBytes,
}

impl Hashed {
    fn add(mut self, mut piece: Bytes) -> Self {
        while let Some(boundary) = self.early.boundary(self.index.len(), piece.len()) {
            self.index.update(&piece.split_to(boundary));
            self.early.compare(&self.index);
        }
        self.index.update(&piece);
        self
    }
}

impl Hashing {
    pub(super) fn new(index: IndexBuilder, early: EarlyBytes) -> Self {
        Self {
            hashed: Some(Hashed { index, early }),
            running: None,
        }
    }

    /// The next piece. Waits until the last one is hashed: more of them would be memory that is bought for little.
    pub(super) async fn push(&mut self, piece: Bytes) -> Result<()> {
        let hashed = self.rest().await?;
        if piece.len() <= INLINE_HASH_LEN {
            self.hashed = Some(hashed.add(piece));
        } else {
            self.running = Some(spawn_blocking(move || hashed.add(piece)));
        }
        Ok(())
    }

    /// Waits until all pieces are hashed.
    pub(super) async fn finish(mut self) -> Result<(IndexBuilder, EarlyBytes)> {
        let Hashed { index, early } = self.rest().await?;
        Ok((index, early))
    }

    async fn rest(&mut self) -> Result<Hashed> {
        if let Some(running) = &mut self.running {
            let ended = running.await;
            self.running = None;
            self.hashed = Some(ended.map_err(panicked)?);
        }
        self.hashed
            .take()
            .ok_or_else(|| Error::unavailable("hashing the layer failed before"))
    }
}

fn panicked(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::unavailable("hashing the layer panicked").caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Digest};

    #[tokio::test]
    async fn pieces_of_any_length_are_hashed_in_their_order() {
        let layer = Bytes::from((0..600_000u32).map(|at| (at % 251) as u8).collect::<Vec<_>>());
        let mut hashing = Hashing::new(IndexBuilder::new(Algorithm::Sha256), EarlyBytes::default());
        let mut rest = layer.clone();
        for len in [1, 100_000, INLINE_HASH_LEN, INLINE_HASH_LEN + 1, 200_000, 7]
            .into_iter()
            .cycle()
        {
            if rest.is_empty() {
                break;
            }
            hashing.push(rest.split_to(rest.len().min(len))).await.unwrap();
        }
        let (index, _) = hashing.finish().await.unwrap();
        assert_eq!(index.len(), layer.len() as u64);
        assert_eq!(index.prefix_digest(), Digest::sha256_of(&layer));
    }

    #[tokio::test]
    async fn a_hash_that_is_lost_is_an_error_and_no_wait() {
        let mut hashing = Hashing::new(IndexBuilder::new(Algorithm::Sha256), EarlyBytes::default());
        hashing.hashed = None;
        hashing.running = Some(spawn_blocking(|| panic!("a bug of the hash")));
        let piece = Bytes::from_static(b"piece");
        for _ in 0..2 {
            assert!(hashing.push(piece.clone()).await.is_err());
        }
        assert!(hashing.finish().await.is_err());
    }
}

//! What readers may have read of fills that came to nothing, until another fill proves or refutes it.

use crate::{Digest, IndexBuilder};

/// The beginnings of a layer as failed fills had them.
#[derive(Debug, Default)]
pub(super) struct EarlyBytes {
    /// Off where nothing can be read early.
    kept: bool,
    beginnings: Vec<Beginning>,
    /// Whether there were bytes of which no digest was left.
    lost: bool,
}

#[derive(Debug)]
struct Beginning {
    len: u64,
    digest: Digest,
    /// Whether the present fill has the same.
    agreed: bool,
}

impl EarlyBytes {
    pub(super) fn new(kept: bool) -> Self {
        Self {
            kept,
            ..Self::default()
        }
    }

    /// From now on something can be read early.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.beginnings.is_empty() && !self.lost
    }

    /// Takes the beginnings to where they are compared. What is left says that they are lost, until they are back.
    pub(super) fn lend(&mut self) -> Self {
        let left = Self {
            kept: self.kept,
            beginnings: Vec::new(),
            lost: self.kept,
        };
        std::mem::replace(self, left)
    }

    /// Another fill begins.
    pub(super) fn restart(&mut self) {
        for beginning in &mut self.beginnings {
            beginning.agreed = false;
        }
    }

    /// Where in the next `len` bytes behind `offset` the fill has to be [compared](Self::compare).
    pub(super) fn boundary(&self, offset: u64, len: usize) -> Option<usize> {
        let ahead = self
            .beginnings
            .iter()
            .filter_map(|beginning| beginning.len.checked_sub(offset));
        let nearest = usize::try_from(ahead.filter(|&ahead| ahead > 0).min()?).ok()?;
        (nearest <= len).then_some(nearest)
    }

    /// Compares what the present fill has hashed so far.
    pub(super) fn compare(&mut self, index: &IndexBuilder) {
        let here = self
            .beginnings
            .iter_mut()
            .filter(|beginning| beginning.len == index.len());
        let digest = index.prefix_digest();
        here.for_each(|beginning| beginning.agreed = beginning.digest == digest);
    }

    /// The present fill has failed after it hashed this much.
    pub(super) fn failed(&mut self, index: Option<&IndexBuilder>) {
        match index {
            _ if !self.kept => {}
            None => self.lost = true,
            Some(index) if index.is_empty() => {}
            Some(index) => {
                let (len, digest) = (index.len(), index.prefix_digest());
                self.beginnings.push(Beginning {
                    len,
                    digest,
                    agreed: false,
                });
            }
        }
    }

    /// Whether the present fill, which is proven right, differs from what could be read before.
    pub(super) fn refuted(&self) -> bool {
        self.lost || self.beginnings.iter().any(|beginning| !beginning.agreed)
    }
}

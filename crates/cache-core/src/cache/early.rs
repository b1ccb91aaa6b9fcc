//! What readers may have read of fills that came to nothing, until another fill proves or refutes it.

use crate::Digest;
use crate::index::IndexBuilder;

/// The beginnings of a layer as failed fills had them.
#[derive(Debug, Default)]
pub(super) struct EarlyBytes {
    /// Off where nothing can be read early.
    kept: bool,
    beginnings: Vec<Beginning>,
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
        self.beginnings.is_empty()
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
    pub(super) fn failed(&mut self, index: &IndexBuilder) {
        if self.kept && !index.is_empty() {
            self.beginnings.push(Beginning {
                len: index.len(),
                digest: index.prefix_digest(),
                agreed: false,
            });
        }
    }

    /// Whether the present fill, which is proven right, differs from what could be read before.
    pub(super) fn refuted(&self) -> bool {
        self.beginnings.iter().any(|beginning| !beginning.agreed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;

    fn hashed(bytes: &[u8]) -> IndexBuilder {
        let mut index = IndexBuilder::new(Algorithm::Sha256);
        index.update(bytes);
        index
    }

    #[test]
    fn only_the_present_fill_agrees_or_differs() {
        let mut early = EarlyBytes::new(true);
        early.failed(&hashed(b"beginning"));
        early.restart();
        early.compare(&hashed(b"beginning"));
        assert!(!early.refuted());
        // A fill that ends before it gets there has not the same bytes there.
        early.restart();
        assert!(early.refuted());
        early.compare(&hashed(b"otherwise"));
        assert!(early.refuted());
    }

    #[test]
    fn what_nobody_can_have_read_is_not_kept() {
        let mut early = EarlyBytes::new(true);
        early.failed(&hashed(b""));
        assert!(early.is_empty() && !early.refuted());
        early = EarlyBytes::default();
        early.failed(&hashed(b"beginning"));
        assert!(early.is_empty());
        early.keep();
        early.failed(&hashed(b"beginning"));
        assert!(!early.is_empty());
    }

    #[test]
    fn a_boundary_is_where_the_nearest_beginning_ends() {
        let mut early = EarlyBytes::new(true);
        early.failed(&hashed(&[7; 30]));
        early.failed(&hashed(&[7; 10]));
        assert_eq!(early.boundary(0, 9), None);
        assert_eq!(early.boundary(0, 10), Some(10));
        assert_eq!(early.boundary(4, 100), Some(6));
        assert_eq!(early.boundary(10, 100), Some(20));
        assert_eq!(early.boundary(30, 100), None);
    }
}

//! A set of a cache's sources.

/// The most sources a cache can be composed of: the bits of a [`SourceSet`].
pub(super) const MAX_SOURCES: usize = 64;

/// Positions in a cache's list of sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct SourceSet(u64);

impl SourceSet {
    pub(super) fn contains(self, source: usize) -> bool {
        self.0 & (1 << source) != 0
    }

    pub(super) fn insert(&mut self, source: usize) {
        self.0 |= 1 << source;
    }
}

//! A layer that was found.

use std::sync::Arc;

use super::source_set::SourceSet;
use crate::{Error, LayerReader};

/// A layer that was found at a source, or was filled into one just now.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    pub(super) source: usize,
    /// The source that the bytes came from: `source` itself, or the one that it was filled from just now.
    pub(super) from: usize,
    /// The tiers that get a copy from here by write-backs, which were made or begun.
    pub(super) copied_to: SourceSet,
    /// Why the tier that was to be filled with the layer was not: of several, the last error.
    pub(super) refused: Option<Error>,
    pub(super) reader: Arc<dyn LayerReader>,
}

impl Hit {
    /// A layer that was at `source` before.
    pub(super) fn at(source: usize, reader: Arc<dyn LayerReader>) -> Self {
        Self::filled(source, source, reader)
    }

    /// A layer that is at `source` since just now, and was found at `from`.
    pub(super) fn filled(source: usize, from: usize, reader: Arc<dyn LayerReader>) -> Self {
        Self {
            source,
            from,
            copied_to: SourceSet::default(),
            refused: None,
            reader,
        }
    }
}

//! One source of a stack, with what else it can do for the stack.

use std::fmt;
use std::sync::Arc;

use cache_core::{LayerCacheBuilder, LayerSource, Metered, SourceCounts, SourceStats, Tier};
use image_tree::TreeStore;

/// One source of a stack: what a [`Constructor`](super::Constructor) makes.
pub struct Part {
    name: Box<str>,
    stats: Arc<SourceStats>,
    place: Place,
    pub(super) extras: Extras,
    /// Whether it is in the stack without having been configured.
    implied: bool,
}

enum Place {
    Source(Arc<dyn LayerSource>),
    Tier(Arc<dyn Tier>),
}

/// What a source may do for a stack besides serving layers.
#[derive(Default)]
pub(super) struct Extras {
    /// Keeps file trees next to the layers.
    pub(super) trees: Option<Arc<dyn TreeStore>>,
    /// Tells how many layers it has evicted.
    pub(super) evicted: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
    #[cfg(feature = "disk")]
    pub(super) disk: Option<cache_disk::DiskTier>,
    #[cfg(feature = "registry")]
    pub(super) origin: Option<super::origins::Origin>,
}

impl Part {
    /// A tier: read, and filled from what stands behind it.
    pub fn tier<T: Tier>(tier: Arc<T>) -> Self {
        let metered = Metered::new(tier);
        let (name, stats) = (metered.name().into(), metered.stats());
        Self {
            name,
            stats,
            place: Place::Tier(Arc::new(metered)),
            extras: Extras::default(),
            implied: false,
        }
    }

    /// A source that is only read.
    pub fn source<S: LayerSource>(source: Arc<S>) -> Self {
        let metered = Metered::new(source);
        let (name, stats) = (metered.name().into(), metered.stats());
        Self {
            name,
            stats,
            place: Place::Source(Arc::new(metered)),
            extras: Extras::default(),
            implied: false,
        }
    }

    /// The same, keeping the file trees of the stack's layers. The first such part of a stack is used.
    #[must_use]
    pub fn with_trees(mut self, trees: Arc<dyn TreeStore>) -> Self {
        self.extras.trees = Some(trees);
        self
    }

    /// The same, telling how many layers it has evicted so far.
    #[must_use]
    pub fn with_evicted(mut self, evicted: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.extras.evicted = Some(Box::new(evicted));
        self
    }

    /// The same, as one that nobody has configured: it is reported only once it was used.
    #[cfg(feature = "registry")]
    pub(super) fn implied(mut self) -> Self {
        self.implied = true;
        self
    }

    /// Whether an operator wants to hear of it.
    pub(super) fn is_reported(&self) -> bool {
        !self.implied || self.stats.counts() != SourceCounts::default()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn stats(&self) -> Arc<SourceStats> {
        Arc::clone(&self.stats)
    }

    pub(super) fn join(&self, cache: LayerCacheBuilder) -> LayerCacheBuilder {
        match &self.place {
            Place::Source(source) => cache.source(Arc::clone(source)),
            Place::Tier(tier) => cache.tier(Arc::clone(tier)),
        }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.place {
            Place::Source(_) => "source",
            Place::Tier(_) => "tier",
        };
        f.debug_struct("Part")
            .field(kind, &self.name)
            .finish_non_exhaustive()
    }
}

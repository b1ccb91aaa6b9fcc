//! Composing a cache.

use std::sync::Arc;

use super::boarding::Flights;
use super::meters::Meters;
use super::options::{Entry, SourceOptions};
use super::source_set::MAX_SOURCES;
use super::tasks::Tasks;
use super::write_back::WriteBack;
use super::{Inner, LayerCache};
use crate::runtime::{AtomicBool, Semaphore};
use crate::{Error, LayerSource, Result, Tier};

/// Puts a [`LayerCache`] together: sources from the nearest to the farthest, in any order and of any kind.
#[derive(Debug)]
pub struct LayerCacheBuilder {
    name: Box<str>,
    sources: Vec<Entry>,
    early_reads: bool,
    max_layer_bytes: u64,
    max_concurrent_fills: usize,
}

impl Default for LayerCacheBuilder {
    fn default() -> Self {
        Self {
            name: "cache".into(),
            sources: Vec::new(),
            early_reads: false,
            max_layer_bytes: 64 << 30,
            max_concurrent_fills: 4,
        }
    }
}

impl LayerCacheBuilder {
    /// Appends a tier: read like any source, and filled from the sources behind it.
    #[must_use]
    pub fn tier(self, tier: Arc<dyn Tier>) -> Self {
        self.tier_with(tier, SourceOptions::default())
    }

    /// Appends a tier that is used as `options` say.
    #[must_use]
    pub fn tier_with(mut self, tier: Arc<dyn Tier>, options: SourceOptions) -> Self {
        self.sources.push(Entry::tier(tier, options));
        self
    }

    /// Appends a source that is only read.
    #[must_use]
    pub fn source(self, source: Arc<dyn LayerSource>) -> Self {
        self.source_with(source, SourceOptions::default())
    }

    /// Appends a source that is only read, and used as `options` say.
    #[must_use]
    pub fn source_with(mut self, source: Arc<dyn LayerSource>, options: SourceOptions) -> Self {
        self.sources.push(Entry::source(source, options));
        self
    }

    /// The cache's own name in errors, and as a source of another cache. Default: `cache`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Whether bytes of a layer may be read before all of it has arrived and was verified. Default: no.
    ///
    /// With it the first byte comes early, and a reader of a layer that turns out wrong gets an error only afterwards.
    #[must_use]
    pub fn early_reads(mut self, early_reads: bool) -> Self {
        self.early_reads = early_reads;
        self
    }

    /// Longest layer in bytes that a fill takes from a source. Default: 64 GiB.
    #[must_use]
    pub fn max_layer_bytes(mut self, max_layer_bytes: u64) -> Self {
        self.max_layer_bytes = max_layer_bytes;
        self
    }

    /// How many layers are searched and filled at once; more wait. 0 counts as 1. Default: 4.
    #[must_use]
    pub fn max_concurrent_fills(mut self, max_concurrent_fills: usize) -> Self {
        self.max_concurrent_fills = max_concurrent_fills;
        self
    }

    /// The cache.
    ///
    /// # Errors
    /// [`Permanent`](crate::ErrorKind::Permanent) when there is no source, or when there are more than 64.
    pub fn build(self) -> Result<LayerCache> {
        if self.sources.is_empty() || self.sources.len() > MAX_SOURCES {
            return Err(Error::permanent(format!(
                "a cache is composed of 1 to {MAX_SOURCES} sources, not of {}",
                self.sources.len()
            ))
            .at(&self.name, "build"));
        }
        let fills = self.max_concurrent_fills.clamp(1, Semaphore::MAX_PERMITS);
        Ok(LayerCache(Arc::new(Inner {
            name: self.name,
            sources: self.sources,
            early_reads: self.early_reads,
            max_layer_bytes: self.max_layer_bytes,
            fills: Semaphore::new(fills),
            flights: Flights::default(),
            write_back: WriteBack::default(),
            lease_tasks: Tasks::default(),
            meters: Meters::new(),
            closed: AtomicBool::new(false),
        })))
    }
}

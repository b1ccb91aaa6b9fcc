//! [`LayerCache`] and its builder.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::arrival::Arrival;
use super::entry::Entry;
use super::inner::Inner;
use super::meters::Meters;
use super::open::open;
use super::options::SourceOptions;
use super::plan::{self, Plan};
use super::publish::{self, Publication};
use super::reader::CacheReader;
use super::single_flight::SingleFlight;
use super::source_set::{MAX_SOURCES, SourceSet};
use super::tasks::Tasks;
use super::write_back::WriteBack;
use crate::runtime::{AtomicBool, Semaphore};
use crate::source::not_found;
use crate::{
    Capabilities, Digest, Error, LayerDescriptor, LayerReader, LayerSource, Probe, Result, Role, Tier,
};

/// Sources in an order of preference, as one source.
///
/// # How a layer is opened
/// The sources are asked in order, and the first that has the layer serves it. What was found far away fills a tier in
/// front of it: the nearest that can be read while it is written, or else the first that can be written; further
/// tiers in front are filled from there in the background. With [`SourceOptions`] a source that serves verified ranges is read at
/// once, until the tier in front is filled. A source that is down, denies, or has wrong bytes costs
/// its time-out and is passed over, also in the middle of a read; wrong bytes are removed from the tier that
/// had them. Only when every source knows that it does not have the layer is it absent.
///
/// However many readers ask for one layer at once, it is searched and filled once. The fill belongs to the cache: a reader
/// that goes away cancels it for nobody.
///
/// ```
/// # use std::sync::Arc;
/// # use cache_core::{Digest, LayerCache, LayerDescriptor, LayerSource, MemoryTier};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let near = Arc::new(MemoryTier::new("near", 1 << 20));
/// let far = Arc::new(MemoryTier::new("far", 1 << 30));
/// let cache = LayerCache::builder().tier(near).source(far).build().unwrap();
/// let layer = LayerDescriptor::new(Digest::sha256_of(b"some blob"));
/// assert!(cache.open(&layer).await.unwrap().is_none());
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct LayerCache(Arc<Inner>);

impl LayerCache {
    /// Composes a cache.
    pub fn builder() -> LayerCacheBuilder {
        LayerCacheBuilder::default()
    }

    /// Opens `layer` like [`get`](crate::LayerSourceExt::get), and waits until no fill of it is under way, well or not. Write-backs
    /// may be. Dropping the future cancels nothing for others.
    ///
    /// # Errors
    /// Those of [`get`](crate::LayerSourceExt::get).
    pub async fn bring(&self, layer: &LayerDescriptor) -> Result<Arrival> {
        let reader = self.reader(layer).await?;
        let reader = reader.ok_or_else(|| not_found(&self.0.name, layer))?;
        self.settled(&layer.digest).await;
        Ok(Arrival::new(reader))
    }

    async fn reader(&self, layer: &LayerDescriptor) -> Result<Option<CacheReader>> {
        let opened = open(&self.0, layer, SourceSet::default(), false).await?;
        Ok(opened.map(|opened| CacheReader::new(Arc::clone(&self.0), layer.clone(), opened)))
    }

    /// Copies a layer that one of the tiers holds to every [shared](Role::Shared) tier that lacks it. No origin is
    /// asked, and a tier whose [`write_back`](SourceOptions::write_back) is off is filled as well. Dropping the
    /// future gives up the copy under way.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when no tier holds the layer, and the error of the last tier that could not
    /// tell. What the shared tiers say is in the result.
    pub async fn publish(&self, layer: &LayerDescriptor) -> Result<Vec<Publication>> {
        publish::publish(&self.0, layer).await
    }

    /// Tells what opening `layer` would do now, and does none of it: the layer is neither fetched nor copied, hashed, removed
    /// or leased.
    ///
    /// The sources are [probed](LayerSource::probe) in their order, each for 30 s at most, until one has the layer. An origin
    /// is taken to have the layer unless it knows that it does not. No error ends this: it is among the answers. A tier that
    /// is planned to be filled may still refuse: the layer is too long for it, or it has no room.
    pub async fn plan(&self, layer: &LayerDescriptor) -> Plan {
        plan::plan(&self.0.sources, layer).await
    }

    /// How many bytes of `layer` the fill that is under way has written so far; `None` when there is none.
    pub fn fill_progress(&self, layer: &Digest) -> Option<u64> {
        self.0.single_flight.progress(layer)
    }

    /// Waits until no fill and no write-back is under way, and every lease is given back: all that have begun have ended, well or
    /// not. While others keep opening cold layers, that may be never.
    pub async fn flush(&self) {
        self.0.single_flight.idle().await;
        self.0.write_back.idle().await;
        self.0.lease_tasks.idle().await;
    }

    /// Waits until no fill of `layer` is under way, well or not. Write-backs may be.
    pub async fn settled(&self, layer: &Digest) {
        self.0.single_flight.settled(layer).await;
    }

    /// Refuses further layers, and waits for what is under way like [`flush`](Self::flush). Readers that are open go on,
    /// but do not move on to another source any more.
    pub async fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        // A caller that saw the cache open has its fill on the table once the table's lock was free.
        self.0.single_flight.settle();
        self.flush().await;
    }
}

#[async_trait]
impl LayerSource for LayerCache {
    fn name(&self) -> &str {
        &self.0.name
    }

    /// The nearest role of its sources: layers are read there, but for the first time.
    fn role(&self) -> Role {
        let roles = self.0.sources.iter().map(|entry| entry.source.role());
        // A cache has a source at least.
        roles.min().unwrap_or(Role::Origin)
    }

    fn capabilities(&self) -> Capabilities {
        let of = |entry: &Entry| entry.source.capabilities();
        let mut capabilities = Capabilities::NONE;
        capabilities.verified = !self.0.early_reads && self.0.sources.iter().all(|entry| of(entry).verified);
        capabilities
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let reader = self.reader(layer).await?;
        Ok(reader.map(|reader| Arc::new(reader) as _))
    }

    async fn probe(&self, layer: &LayerDescriptor) -> Result<Probe> {
        plan::probe(&self.0.name, &self.0.sources, layer).await
    }
}

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
            single_flight: Arc::new(SingleFlight::new(&self.name)),
            name: self.name,
            sources: self.sources,
            early_reads: self.early_reads,
            max_layer_bytes: self.max_layer_bytes,
            fills: Semaphore::new(fills),
            write_back: WriteBack::new(self.max_layer_bytes),
            lease_tasks: Tasks::default(),
            meters: Meters::new(),
            closed: AtomicBool::new(false),
        })))
    }
}

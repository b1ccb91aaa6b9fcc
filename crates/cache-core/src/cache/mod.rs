//! [`LayerCache`]: an ordered list of sources as one source.

mod arrival;
mod boarding;
mod builder;
mod claims;
mod early;
mod fill;
mod flight;
mod keeper;
mod meters;
mod options;
mod outcomes;
mod pilot;
mod publish;
mod reader;
mod route;
mod search;
mod source_set;
mod streaming;
mod tasks;
mod write_back;

#[cfg(all(test, shuttle))]
mod schedules;
#[cfg(all(test, not(shuttle)))]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;

use self::boarding::Flights;
use self::flight::Opened;
use self::meters::Meters;
use self::options::Entry;
use self::reader::CacheReader;
use self::source_set::SourceSet;
use self::tasks::Tasks;
use self::write_back::WriteBack;
use crate::runtime::{AtomicBool, Semaphore};
use crate::{Capabilities, Digest, Error, LayerDescriptor, LayerReader, LayerSource, Result, Role, planted};

pub use self::arrival::Arrival;
pub use self::builder::LayerCacheBuilder;
pub use self::options::{Copying, SourceOptions};
pub use self::publish::Publication;

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

#[derive(Debug)]
struct Inner {
    name: Box<str>,
    sources: Vec<Entry>,
    early_reads: bool,
    max_layer_bytes: u64,
    fills: Semaphore,
    flights: Flights,
    write_back: WriteBack,
    lease_tasks: Tasks,
    meters: Meters,
    closed: AtomicBool,
}

impl LayerCache {
    /// Composes a cache.
    pub fn builder() -> LayerCacheBuilder {
        LayerCacheBuilder::default()
    }

    /// How many bytes of `layer` the fill that is under way has written so far; `None` when there is none.
    pub fn fill_progress(&self, layer: &Digest) -> Option<u64> {
        self.0.flights.progress(layer)
    }

    /// Waits until no fill and no write-back is under way, and every lease is given back: all that have begun have ended, well or not. While others keep
    /// opening cold layers, that may be never.
    pub async fn flush(&self) {
        self.0.flights.idle().await;
        if !planted::is("write-backs-not-drained") {
            self.0.write_back.idle().await;
        }
        self.0.lease_tasks.idle().await;
    }

    /// Waits until no fill of `layer` is under way, well or not. Write-backs may be.
    pub async fn settled(&self, layer: &Digest) {
        self.0.flights.settled(layer).await;
    }

    /// Refuses further layers, and waits for what is under way like [`flush`](Self::flush). Readers that are open go on,
    /// but do not move on to another source any more.
    pub async fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        // Whoever saw the cache open has its flight on the table once the table's lock was free.
        if !planted::is("close-overlooks-a-flight") {
            self.0.flights.settle();
        }
        self.flush().await;
    }
}

impl Inner {
    /// Opens `layer` at the sources that are not in `skip`; `apart` from flights for other repositories, whose failure
    /// says nothing about this one.
    async fn open(
        self: &Arc<Self>,
        layer: &LayerDescriptor,
        skip: SourceSet,
        apart: bool,
    ) -> Result<Option<Opened>> {
        self.check_open(layer)?;
        boarding::open(self, layer, skip, apart).await
    }

    fn check_open(&self, layer: &LayerDescriptor) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::permanent("the cache is closed")
                .at(&self.name, "open")
                .of_layer(&layer.digest));
        }
        Ok(())
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
        let opened = self.0.open(layer, SourceSet::default(), false).await?;
        Ok(opened.map(|opened| {
            Arc::new(CacheReader::new(Arc::clone(&self.0), layer.clone(), opened)) as Arc<dyn LayerReader>
        }))
    }
}

//! A layer that was brought into the cache, and where it came from.

use std::sync::Arc;

use super::hit::Hit;
use super::in_flight::Opened;
use super::reader::CacheReader;
use crate::{Error, LayerReader};

/// A layer that [`LayerCache::bring`](super::LayerCache::bring) has opened, after every fill of it has ended.
///
/// ```
/// # use std::sync::Arc;
/// # use cache_core::{Claim, Digest, LayerCache, LayerDescriptor, MemoryTier, Tier};
/// # use cache_core::index::IndexBuilder;
/// # fn main() -> cache_core::Result<()> {
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let (near, far) = (Arc::new(MemoryTier::new("near", 1 << 20)), Arc::new(MemoryTier::new("far", 1 << 20)));
/// # let layer = LayerDescriptor::new(Digest::sha256_of(b"blob")).with_diff_id(Digest::sha256_of(b"a tar"));
/// # if let Claim::Write(mut writer) = far.create(&layer).await? {
/// #     let mut index = IndexBuilder::new(layer.digest.algorithm());
/// #     index.update(b"a tar");
/// #     writer.write(b"a tar"[..].into()).await?;
/// #     writer.commit(&index.finish(layer.digest)).await?;
/// # }
/// let cache = LayerCache::builder().tier(near).source(far).build()?;
/// let arrival = cache.bring(&layer).await?;
/// assert_eq!((arrival.came_from(), arrival.held_by()), (Some("far"), Some("near")));
/// let again = cache.bring(&layer).await?;
/// assert_eq!((again.came_from(), again.held_by()), (Some("near"), Some("near")));
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Arrival(Arc<CacheReader>);

impl Arrival {
    pub(super) fn new(reader: CacheReader) -> Self {
        Self(Arc::new(reader))
    }

    /// The open layer.
    pub fn reader(&self) -> Arc<dyn LayerReader> {
        Arc::clone(&self.0) as _
    }

    /// The name of the source that the bytes came from: a far one, where a tier was filled from it just now, and otherwise
    /// [the one that holds them](Self::held_by). `None` when the fill has failed and nothing serves the layer: reading it tells why.
    pub fn came_from(&self) -> Option<&str> {
        self.hit().map(|hit| self.name(hit.from))
    }

    /// The name of the source that the layer is read from. An origin keeps nothing: each read fetches the layer again.
    pub fn held_by(&self) -> Option<&str> {
        self.hit().map(|hit| self.name(hit.source))
    }

    /// The names of the tiers that get a further copy from [where the layer is held](Self::held_by), the nearest first: those that
    /// were given it, and those that are about to be, in the background, which may yet fail.
    pub fn copied_to(&self) -> Vec<&str> {
        let Some(hit) = self.hit() else {
            return Vec::new();
        };
        let sources = 0..self.0.cache.sources.len();
        sources
            .filter(|&source| hit.copied_to.contains(source))
            .map(|source| self.name(source))
            .collect()
    }

    /// Why the tier that was to be filled with the layer was not, where that has failed: of several, the error of the last. Whoever wants to
    /// have the layer kept finds out here that it is not [held](Self::held_by) where it should be.
    pub fn refused(&self) -> Option<Error> {
        self.hit()?.refused
    }

    fn hit(&self) -> Option<Hit> {
        match self.0.opened() {
            Opened::Hit(hit) => Some(hit),
            Opened::InFlight(in_flight) => in_flight.hit(),
        }
    }

    fn name(&self, source: usize) -> &str {
        self.0.cache.sources[source].source.name()
    }
}

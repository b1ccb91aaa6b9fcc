//! Bringing a layer into the cache, and telling where it came from.

use std::sync::Arc;

use super::flight::Opened;
use super::reader::CacheReader;
use super::search::Hit;
use super::source_set::SourceSet;
use super::{Inner, LayerCache};
use crate::source::not_found;
use crate::{Error, LayerDescriptor, LayerReader, Result};

/// A layer that [`LayerCache::bring`] has opened, after every fill of it has ended.
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
        match self.0.state().opened {
            Opened::Hit(hit) => Some(hit),
            Opened::Flight(flight) => flight.hit(),
        }
    }

    fn name(&self, source: usize) -> &str {
        self.0.cache.sources[source].source.name()
    }
}

impl LayerCache {
    /// Opens `layer` like [`get`](crate::LayerSourceExt::get), and waits until no fill of it is under way, well or not. Write-backs
    /// may be. Dropping the future cancels nothing for others.
    ///
    /// # Errors
    /// Those of [`get`](crate::LayerSourceExt::get).
    pub async fn bring(&self, layer: &LayerDescriptor) -> Result<Arrival> {
        let opened = Inner::open(&self.0, layer, SourceSet::default(), false).await?;
        let opened = opened.ok_or_else(|| not_found(&self.0.name, layer))?;
        self.settled(&layer.digest).await;
        let reader = CacheReader::new(Arc::clone(&self.0), layer.clone(), opened);
        Ok(Arrival(Arc::new(reader)))
    }
}

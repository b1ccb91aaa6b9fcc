//! The assembled sources.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use cache_core::cache::Arrival;
use cache_core::guard::SourceCounts;
use cache_core::inflate::{InflateLimits, InflateStats, Inflater};
use cache_core::{LayerCache, LayerDescriptor, LayerReader, LayerSourceExt, Result, Role};
use futures_util::future::join_all;
use image_tree::TreeStore;

use super::{Kinds, Part, Shared};
use crate::image::ImageHandle;
use crate::trees::NoTrees;
use crate::{Config, ConfigError};

/// A cache composed as a configuration says, with what an application needs around it.
pub struct Stack {
    cache: LayerCache,
    inflater: Inflater,
    pub(super) trees: Arc<dyn TreeStore>,
    pub(super) parts: Vec<Part>,
}

impl Stack {
    /// Composes the sources that `config` names, each made by its kind's constructor.
    ///
    /// # Errors
    /// [`ConfigError`] for what cannot be made of the configuration.
    pub fn assemble(config: &Config, kinds: &Kinds) -> Result<Self, ConfigError> {
        Self::compose(config, kinds, true)
    }

    /// The same, to look what there is: a cache directory that is not there is not created, and one that may only be read will do.
    ///
    /// # Errors
    /// As for [`assemble`](Self::assemble).
    pub fn assemble_to_look(config: &Config, kinds: &Kinds) -> Result<Self, ConfigError> {
        Self::compose(config, kinds, false)
    }

    fn compose(config: &Config, kinds: &Kinds, create: bool) -> Result<Self, ConfigError> {
        let limits = InflateLimits::default()
            .with_max_layer_bytes(config.max_layer_bytes)
            .with_max_concurrent(config.max_concurrent_fills);
        let inflater = Inflater::new(limits);
        let shared = Shared {
            inflater: inflater.clone(),
            create,
        };
        #[allow(
            unused_mut,
            reason = "without the feature `registry` there is nothing to append"
        )]
        let mut parts = config
            .tiers
            .iter()
            .map(|tier| kinds.part(tier, &shared))
            .collect::<Result<Vec<_>, _>>()?;
        #[cfg(feature = "registry")]
        parts.extend(super::origins::file_parts(&shared));
        let mut names = BTreeSet::new();
        if let Some(twice) = parts.iter().find(|part| !names.insert(part.name())) {
            return Err(ConfigError::DuplicateName(twice.name().to_owned()));
        }
        let mut builder = LayerCache::builder()
            .early_reads(config.early_reads)
            .max_layer_bytes(config.max_layer_bytes)
            .max_concurrent_fills(config.max_concurrent_fills);
        for part in &parts {
            builder = part.join(builder);
        }
        let cache = builder.build()?;
        let trees = parts.iter().find_map(|part| part.extras.trees.clone());
        Ok(Self {
            cache,
            inflater,
            trees: trees.unwrap_or_else(|| Arc::new(NoTrees)),
            parts,
        })
    }

    /// The cache that the sources make together.
    pub fn cache(&self) -> &LayerCache {
        &self.cache
    }

    /// What inflating has cost so far.
    pub fn inflate_stats(&self) -> &InflateStats {
        self.inflater.stats()
    }

    /// What each source has done so far, in their order. The origins of layouts and archives, which are in every stack, are
    /// left out until they are used.
    pub fn sources(&self) -> Vec<SourceReport> {
        let report = |part: &Part| SourceReport {
            name: part.name().to_owned(),
            counts: part.stats().counts(),
            evicted_layers: part.extras.evicted.as_ref().map_or(0, |evicted| evicted()),
        };
        self.parts
            .iter()
            .filter(|part| part.is_reported())
            .map(report)
            .collect()
    }

    /// Brings the metrics up to date that cost a look: how many bytes are on the disks, and how many are free. To be done before
    /// the metrics are read, as at each scrape. A look costs a system call per file of the cache; what cannot be found out within a
    /// second is NaN. Dropping the future is no harm: a look at a directory that has begun runs to its end, and no other begins before.
    pub async fn sample_metrics(&self) {
        let samples = self.parts.iter().filter_map(|part| part.extras.sample.as_ref());
        join_all(samples.map(|sample| sample())).await;
    }

    /// Opens a layer through the cache.
    ///
    /// # Errors
    /// Those of [`LayerSourceExt::get`].
    pub async fn open(&self, layer: &LayerDescriptor) -> Result<Arc<dyn LayerReader>> {
        self.cache.get(layer).await
    }

    /// Brings a layer into the cache, and waits until it is there, or no tier takes it.
    ///
    /// # Errors
    /// Those of [`LayerCache::bring`].
    pub async fn bring(&self, layer: &LayerDescriptor) -> Result<Arrival> {
        self.cache.bring(layer).await
    }

    /// Whether the source of this name is an origin, which fetches the whole blob of a layer for whatever is read of it.
    pub fn is_origin(&self, source: &str) -> bool {
        let named = self.parts.iter().find(|part| part.name() == source);
        named.is_some_and(|part| part.role() == Role::Origin)
    }

    /// Opens an image with these layers, the base first: each layer once, and its file tree with
    /// it, loaded from next to the layer or built from it and kept there. Dropping the future
    /// cancels it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`ImageTree::new`](image_tree::ImageTree::new), and
    /// [`Corrupt`](cache_core::ErrorKind::Corrupt) when a layer is not a tar.
    pub async fn open_image(&self, layers: &[LayerDescriptor]) -> Result<ImageHandle> {
        ImageHandle::new(&self.cache, &*self.trees, layers).await
    }
}

#[cfg(feature = "registry")]
impl Stack {
    /// Finds an image and its layers.
    ///
    /// # Errors
    /// Those of [`ImageSource::resolve`](registry::ImageSource::resolve). With several registries in the stack, the one that leaves most hope: an image is
    /// not found only when each of them says so.
    pub async fn resolve(
        &self,
        location: &registry::ImageLocation,
        platform: &registry::Platform,
    ) -> Result<registry::Image> {
        let kind = location.origin();
        let mut failed = Vec::new();
        for origin in self.origins().filter(|origin| origin.kind == kind) {
            match origin.images.resolve(location, platform).await {
                Ok(image) => return Ok(image),
                Err(error) => failed.push(error),
            }
        }
        let failed = cache_core::Error::most_hopeful(&failed);
        Err(failed.cloned().unwrap_or_else(|| {
            cache_core::Error::permanent(format!(
                "no tier of the kind `{kind}` is configured, which this image needs: add one"
            ))
        }))
    }

    /// Requests that the origins have sent, and bytes they have received, by all origins together.
    pub fn origin_cost(&self) -> (u64, u64) {
        self.origins().fold((0, 0), |(requests, bytes), origin| {
            (requests + origin.stats.requests(), bytes + origin.stats.bytes())
        })
    }

    fn origins(&self) -> impl Iterator<Item = &super::part::Origin> {
        self.parts.iter().filter_map(|part| part.extras.origin.as_ref())
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

/// What one source of a [`Stack`] has done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceReport {
    /// The source's name.
    pub name: String,
    /// What went through it.
    pub counts: SourceCounts,
    /// Layers it has evicted to keep its limits.
    pub evicted_layers: u64,
}

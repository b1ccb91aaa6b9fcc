//! One source of a stack, with what else it can do for the stack.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use cache_core::cache::LayerCacheBuilder;
use cache_core::guard::{Metered, SourceCounts, SourceStats};
use cache_core::{
    Capabilities, Copying, LayerDescriptor, LayerSource, Probe, Result, Role, SourceOptions, Tier,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use image_tree::TreeStore;

/// One source of a stack: what a [`Constructor`](super::Constructor) makes.
///
/// All but the source itself can be left out. What a kind says of itself here, an operator sees in `layercache config check`:
///
/// ```
/// # use std::sync::Arc;
/// # use layercache::{Config, Kinds, Part, Stack};
/// # use layercache::core::{Copying, MemoryTier, SourceOptions};
/// let mut kinds = Kinds::builtin();
/// kinds.register("shelf", |tier, _shared| {
///     let shelf = Arc::new(MemoryTier::new(tier.name(), 64 << 20));
///     Ok(Part::tier(shelf)
///         .with_options(SourceOptions::default().with_write_back(Copying::Inline))
///         .with_description("64 MiB of memory")
///         .with_check(|| async { Ok(()) }))
/// });
/// # let config = Config::parse("[[tier]]\nkind = \"shelf\"").unwrap();
/// # let stack = Stack::assemble(&config, &kinds).unwrap();
/// ```
pub struct Part {
    name: Box<str>,
    /// As the configuration names it.
    kind: Box<str>,
    stats: Arc<SourceStats>,
    place: Place,
    options: SourceOptions,
    /// Bytes that are moved together.
    unit: NonZeroU64,
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
    /// Says in a few words, and without secrets, where the layers are.
    pub(super) description: Option<Box<str>>,
    /// Asks whether the source can be used.
    pub(super) check: Option<Check>,
    /// Brings metrics up to date that cost a look.
    pub(super) sample: Option<Sample>,
    /// Keeps file trees next to the layers.
    pub(super) trees: Option<Arc<dyn TreeStore>>,
    /// Tells how many layers it has evicted.
    pub(super) evicted: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
    #[cfg(feature = "disk")]
    pub(super) disk: Option<cache_disk::DiskTier>,
    #[cfg(feature = "registry")]
    pub(super) origin: Option<Origin>,
}

/// A question to a source.
pub(super) type Check = Box<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A look for the metrics.
pub(super) type Sample = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Resolves images, and counts the cost of that.
#[cfg(feature = "registry")]
pub(super) struct Origin {
    /// As [`ImageLocation::origin`](registry::ImageLocation::origin) says.
    pub(super) kind: &'static str,
    pub(super) images: Arc<dyn registry::ImageSource>,
    pub(super) stats: registry::OriginStats,
}

impl Part {
    /// A tier: read, and filled from what stands behind it.
    pub fn tier<T: Tier>(tier: Arc<T>) -> Self {
        let metered = Metered::new(tier);
        let stats = metered.stats();
        Self::new(Place::Tier(Arc::new(metered)), stats)
    }

    /// A source that is only read.
    pub fn source<S: LayerSource>(source: Arc<S>) -> Self {
        let metered = Metered::new(source);
        let stats = metered.stats();
        Self::new(Place::Source(Arc::new(metered)), stats)
    }

    fn new(place: Place, stats: Arc<SourceStats>) -> Self {
        let name: Box<str> = place.source().name().into();
        Self {
            kind: name.clone(),
            name,
            stats,
            place,
            options: SourceOptions::default(),
            unit: NonZeroU64::MIN,
            extras: Extras::default(),
            implied: false,
        }
    }

    /// The same, used by the stack's cache as `options` say.
    #[must_use]
    pub fn with_options(mut self, options: SourceOptions) -> Self {
        self.options = options;
        self
    }

    /// The same, saying that a read of any byte moves this many: those of the layer's units of `bytes` bytes that it touches. What a
    /// source does not say moves what was asked for.
    #[must_use]
    pub fn with_read_unit(mut self, bytes: NonZeroU64) -> Self {
        self.unit = bytes;
        self
    }

    /// The same, saying in a few words where the layers are: a directory, a host. No secrets.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<Box<str>>) -> Self {
        self.extras.description = Some(description.into());
        self
    }

    /// The same, with how to ask whether the source can be used. Dropping the future must cancel it; what it fails with is shown,
    /// and must hold no secrets.
    #[must_use]
    pub fn with_check<F>(mut self, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.extras.check = Some(Box::new(move || check().boxed()));
        self
    }

    /// The same, with what brings up to date those metrics of it that cost a look, as at a directory; done whenever
    /// [`Stack::sample_metrics`](super::Stack::sample_metrics) is. A scrape waits for it: what cannot be found out within a second is better
    /// told as NaN. Dropping the future must stop it, but for what runs on a thread of its own, and nothing may pile up there.
    #[must_use]
    pub fn with_sample<F>(mut self, sample: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.extras.sample = Some(Box::new(move || sample().boxed()));
        self
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

    /// The same, as the kind that the configuration names.
    pub(super) fn of_kind(mut self, kind: &str) -> Self {
        self.kind = kind.into();
        self
    }

    /// Whether nobody has configured it.
    pub(super) fn is_implied(&self) -> bool {
        self.implied
    }

    /// Whether an operator wants to hear of it.
    pub(super) fn is_reported(&self) -> bool {
        !self.implied || self.stats.counts() != SourceCounts::default()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    pub(super) fn options(&self) -> &SourceOptions {
        &self.options
    }

    pub(super) fn read_unit(&self) -> NonZeroU64 {
        self.unit
    }

    /// Tells what the source has of a layer, without leaving a trace.
    pub(super) async fn probe(&self, layer: &LayerDescriptor) -> Result<Probe> {
        self.place.source().probe(layer).await
    }

    pub(super) fn is_tier(&self) -> bool {
        matches!(self.place, Place::Tier(_))
    }

    /// Whether layers that are found behind it are copied here.
    pub(super) fn takes_layers(&self) -> bool {
        self.is_tier() && self.options.write_back != Copying::Off
    }

    pub(super) fn role(&self) -> Role {
        self.place.source().role()
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.place.source().capabilities()
    }

    pub(super) fn stats(&self) -> Arc<SourceStats> {
        Arc::clone(&self.stats)
    }

    pub(super) fn join(&self, cache: LayerCacheBuilder) -> LayerCacheBuilder {
        let options = self.options.clone();
        match &self.place {
            Place::Source(source) => cache.source_with(Arc::clone(source), options),
            Place::Tier(tier) => cache.tier_with(Arc::clone(tier), options),
        }
    }
}

impl Place {
    fn source(&self) -> &dyn LayerSource {
        match self {
            Self::Source(source) => &**source,
            Self::Tier(tier) => &**tier,
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

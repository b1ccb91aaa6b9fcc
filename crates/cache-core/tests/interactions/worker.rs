//! A process that composes the sources, and what it has of them.

use std::sync::Arc;
use std::time::Duration;

use cache_core::guard::{
    Breaker, BreakerConfig, Guarded, Metered, Places, ReadOnly, Retry, RetryConfig, Timeout, TimeoutConfig,
};
use cache_core::{LayerCache, LayerSource, SourceOptions, Tier};
use cache_testkit::sim::Process;
use futures_util::FutureExt;

use crate::composition::{Composition, Guard, LAYERS, Part, digest_of};
use crate::sources::Source;

/// Longer than any call takes that does not stall.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much a limited source is asked to do at once.
const PLACES: usize = 2;

/// A process, from its start to its end. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) process: Process,
    pub(crate) cache: LayerCache,
    /// As the cache uses them: behind guards. `None` for a source that is no tier.
    pub(crate) tiers: Vec<Option<Arc<dyn Tier>>>,
    places: Vec<Places>,
}

impl Worker {
    /// Composes the sources in this order.
    pub(crate) fn start(
        composition: &Composition,
        sources: &[Source],
        order: impl IntoIterator<Item = usize>,
        host: usize,
    ) -> Self {
        let process = Process::on(host);
        let mut builder = LayerCache::builder().early_reads(composition.early_reads());
        let mut tiers = vec![None; sources.len()];
        let mut places = Vec::new();
        for position in order {
            let (part, source) = (&composition.parts[position], &sources[position]);
            let mut options = SourceOptions::default()
                .with_fill(part.fill)
                .with_write_back(part.write_back);
            builder = match source {
                Source::Origin(origin) => {
                    let origin = Arc::new(origin.used_by(&process));
                    builder.source_with(guarded_source(origin, &part.guards, &mut places), options)
                }
                Source::Local(_) | Source::Shared(_) => {
                    let tier = source.tier(host).expect("a tier").used_by(&process);
                    if part.leases.is_some() {
                        options = options.with_leases(tier.leases());
                    }
                    let tier = guarded_tier(Arc::new(tier), part, &mut places);
                    tiers[position] = Some(Arc::clone(&tier));
                    builder.tier_with(tier, options)
                }
            };
        }
        Self {
            process,
            cache: builder.build().unwrap(),
            tiers,
            places,
        }
    }

    /// Waits until it has nothing under way, and sees that it holds nothing then.
    pub(crate) async fn rest(&self) {
        self.cache.flush().await;
        for layer in (0..LAYERS.len()).map(digest_of) {
            assert_eq!(self.cache.fill_progress(&layer), None, "a flight at rest");
            let settled = self.cache.settled(&layer).now_or_never();
            assert_eq!(settled, Some(()), "a layer that is not settled at rest");
        }
        for places in &self.places {
            assert_eq!(places.free(), PLACES, "places of a limit that are taken at rest");
        }
    }

    /// Whether it has nothing under way.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.cache.flush().now_or_never().is_some()
    }
}

fn time_outs() -> TimeoutConfig {
    TimeoutConfig {
        operation: PATIENCE,
        idle: PATIENCE,
        commit: PATIENCE,
        create: Some(PATIENCE),
    }
}

fn limit<S: LayerSource>(inner: S, all: &mut Vec<Places>) -> Guarded<S, Places> {
    let places = Places::new(PLACES);
    all.push(places.clone());
    Guarded::with_policy(inner, places)
}

fn guarded_source(
    source: Arc<dyn LayerSource>,
    guards: &[Guard],
    places: &mut Vec<Places>,
) -> Arc<dyn LayerSource> {
    guards.iter().fold(source, |inner, guard| match guard {
        Guard::Timeout => Arc::new(Timeout::new(inner, time_outs())),
        Guard::Retry => Arc::new(Retry::new(inner, RetryConfig::default())),
        Guard::Breaker => Arc::new(Breaker::new(inner, BreakerConfig::default())),
        Guard::Limit => Arc::new(limit(inner, places)),
        Guard::Metered => Arc::new(Metered::new(inner)),
        // Nothing is written to a source that is no tier.
        Guard::ReadOnly => inner,
    })
}

fn guarded_tier(tier: Arc<dyn Tier>, part: &Part, places: &mut Vec<Places>) -> Arc<dyn Tier> {
    part.guards.iter().fold(tier, |inner, guard| match guard {
        Guard::Timeout => Arc::new(Timeout::new(inner, time_outs())),
        Guard::Retry => Arc::new(Retry::new(inner, RetryConfig::default())),
        Guard::Breaker => Arc::new(Breaker::new(inner, BreakerConfig::default())),
        Guard::Limit => Arc::new(limit(inner, places)),
        Guard::Metered => Arc::new(Metered::new(inner)),
        Guard::ReadOnly => Arc::new(ReadOnly::new(inner)),
    })
}

//! The task of a fill: search, copy, verify, and finish in any case.

use std::sync::Arc;

use super::claims::{Claimed, Target};
use super::early::EarlyBytes;
use super::fill::{Fill, FillError};
use super::fill_state::FillState;
use super::hit::Hit;
use super::in_flight::InFlight;
use super::inner::Inner;
use super::lease::Lessee;
use super::search::{Found, Search};
use super::single_flight::FinishGuard;
use super::source_set::SourceSet;
use crate::{Error, ErrorKind, LayerDescriptor, LayerReader, LayerWriter, Result};

/// A fill from its beginning to its end. Dropping it ends it too, by its guard.
pub(super) struct FillTask {
    cache: Arc<Inner>,
    layer: LayerDescriptor,
    skip: SourceSet,
    lessee: Lessee,
    guard: FinishGuard,
}

/// The result of one round.
enum Round {
    /// The layer is there, and these tiers lack it still.
    Brought(Hit, Vec<usize>),
    Failed(Failure),
}

/// A copy that failed.
struct Failure {
    source: usize,
    /// The tier that was filled, if there was one.
    tier: Option<usize>,
    error: FillError,
}

impl FillTask {
    pub(super) fn new(
        cache: &Arc<Inner>,
        layer: &LayerDescriptor,
        skip: SourceSet,
        guard: FinishGuard,
    ) -> Self {
        Self {
            cache: Arc::clone(cache),
            layer: layer.clone(),
            skip,
            lessee: Lessee::new(&cache.lease_tasks),
            guard,
        }
    }

    /// Brings the layer, and tells all who wait for it. `first` is what the first source has just answered, if that is known.
    pub(super) async fn run(self, first: Option<Result<()>>) {
        let result = self.fill(first).await;
        self.guard.finish(result);
    }

    fn in_flight(&self) -> &InFlight {
        self.guard.in_flight()
    }

    async fn fill(&self, mut first: Option<Result<()>>) -> Result<Option<Hit>> {
        let _turn = self.take_turn(&mut first).await?;
        let mut state = FillState::new(self.skip, self.cache.early_reads);
        // Each round excludes a source or a tier, so there are at most two per source.
        loop {
            let search = Search {
                sources: &self.cache.sources,
                layer: &self.layer,
                state: &mut state,
                first: first.take(),
                lessee: &self.lessee,
            };
            let Some(found) = search.run().await? else {
                let error = state.failures.into_error(&self.cache.name, &self.layer.digest);
                return error.map_or(Ok(None), Err);
            };
            match self.bring(found, &mut state).await? {
                Round::Brought(hit, lacking) => {
                    return Ok(Some(self.conclude(hit, &lacking, state).await));
                }
                Round::Failed(failure) => self.exclude(failure, &mut state).await,
            }
        }
    }

    /// Waits until one more fill may run. The first source's answer may be outdated then.
    async fn take_turn(&self, first: &mut Option<Result<()>>) -> Result<impl Sized + use<'_>> {
        let cache = &self.cache;
        let closed = |_| {
            Error::unavailable("the cache is closed")
                .at(&cache.name, "open")
                .of_layer(&self.layer.digest)
        };
        match cache.fills.try_acquire() {
            Ok(permit) => Ok(permit),
            Err(_) => {
                *first = None;
                cache.fills.acquire().await.map_err(closed)
            }
        }
    }

    /// Gets the layer from where it was found into the tier that is filled first, if there is one.
    async fn bring(&self, found: Found<'_>, state: &mut FillState) -> Result<Round> {
        let Found { hit, claims } = found;
        let rules = self.cache.sources[hit.source].rules;
        if !rules.is_copied() {
            return Ok(Round::Brought(hit, Vec::new()));
        }
        let random_access = hit.reader.random_access();
        if rules.serves_at_once(random_access) && claims.fills_on_the_way() {
            state.early.keep();
            self.in_flight().begin_serving(hit.clone());
        }
        let target = claims.claim(rules.reads_ranges(random_access)).await?;
        let Target {
            claimed,
            mut further,
            refused,
        } = target;
        state.refused = refused.or(state.refused.take());
        let (tier, copied) = match claimed {
            Claimed::Filled(hit) => return Ok(Round::Brought(hit, further)),
            Claimed::Tier(tier, writer) => {
                let copied = self.copy(&hit, tier, writer, &mut state.early).await;
                (
                    Some(tier),
                    copied.map(|reader| Hit::filled(tier, hit.source, reader)),
                )
            }
            Claimed::None => (
                None,
                self.prove(&hit, &mut state.early).await.map(|()| hit.clone()),
            ),
        };
        match copied {
            Ok(hit) => {
                if tier.is_some() {
                    further.append(&mut self.repair(state).await);
                }
                Ok(Round::Brought(hit, further))
            }
            Err(error) => Ok(Round::Failed(Failure {
                source: hit.source,
                tier,
                error,
            })),
        }
    }

    /// Copies the layer into the claimed tier.
    async fn copy(
        &self,
        hit: &Hit,
        tier: usize,
        writer: Box<dyn LayerWriter>,
        early: &mut EarlyBytes,
    ) -> Result<Arc<dyn LayerReader>, FillError> {
        let (cache, in_flight) = (&self.cache, self.in_flight());
        if in_flight.is_serving() {
            in_flight.head_start().await;
        }
        in_flight.begin_filling(writer.partial(), cache.early_reads);
        let progress = |written| {
            in_flight.advance(written);
            self.lessee.work().tell(written);
        };
        let from = &cache.sources[hit.source];
        let fill = Fill::new(&self.layer, &hit.reader, cache.max_layer_bytes, early).into(writer, progress);
        let reader = match &cache.sources[tier].meters {
            Some(meters) => meters.fill(&from.failed_fills, fill).await,
            None => fill.await,
        }?;
        if !from.rules.is_origin() {
            let source = from.source.name();
            tracing::info!(digest = %self.layer.digest, source, bytes = reader.len(), "loaded from remote cache");
        }
        Ok(reader)
    }

    /// Verifies all of a layer that no tier takes, where bytes of an earlier fill that failed were read early.
    async fn prove(&self, hit: &Hit, early: &mut EarlyBytes) -> Result<(), FillError> {
        if early.is_empty() || !self.in_flight().was_read_early() {
            return Ok(());
        }
        let fill = Fill::new(&self.layer, &hit.reader, self.cache.max_layer_bytes, early);
        fill.prove().await
    }

    /// Removes the layer from the suspects once the image's claim is proven true: then they were wrong. Unproven it may be
    /// the image that lies, and it must not be able to purge a good layer. Returns the tiers that were rid of wrong bytes and
    /// take layers.
    async fn repair(&self, state: &mut FillState) -> Vec<usize> {
        let sources = &self.cache.sources;
        for suspect in std::mem::take(&mut state.suspects) {
            if sources[suspect].remove_corrupt(&self.layer).await {
                state.repaired.push(suspect);
            }
        }
        let mut repaired = std::mem::take(&mut state.repaired);
        repaired.retain(|&source| sources[source].rules.takes_layers());
        repaired
    }

    /// Excludes the source or tier that is to blame for a failed copy.
    async fn exclude(&self, failure: Failure, state: &mut FillState) {
        let sources = &self.cache.sources;
        let Failure { source, tier, error } = failure;
        match (error, tier) {
            (FillError::Tier(error), Some(tier)) => {
                self.in_flight().end_filling();
                let error = sources[tier].blame(&self.layer, error);
                tracing::warn!(%error, "tier not filled");
                state.refused = Some((tier, error));
                state.no_claim.insert(tier);
            }
            (FillError::Source(error) | FillError::Tier(error), _) => {
                let error = sources[source].blame(&self.layer, error);
                let corrupt = error.kind() == ErrorKind::Corrupt;
                self.in_flight().begin_searching(corrupt);
                if corrupt && sources[source].remove_corrupt(&self.layer).await {
                    state.repaired.push(source);
                }
                state.fail(source, error);
            }
            (FillError::DiffId(error), _) => {
                self.in_flight().begin_searching(true);
                state.suspect(source, sources[source].blame(&self.layer, error));
            }
        }
    }

    /// Concludes a search that went well: tells what was read early and is wrong, logs the sources that failed, and fills the
    /// tiers that lack the layer from `hit`.
    async fn conclude(&self, mut hit: Hit, lacking: &[usize], mut state: FillState) -> Hit {
        self.refute_early_reads(&state);
        state.failures.passed_over();
        // A tier that had refused may have been asked again, and has taken it.
        let refused = state.refused.take().filter(|(tier, _)| *tier != hit.source);
        hit.refused = refused.map(|(_, error)| error);
        let (cache, lease) = (&self.cache, state.lease.take());
        let write_back = &cache.write_back;
        hit.copied_to = write_back
            .start(&cache.sources, &self.layer, &hit, lacking, lease)
            .await;
        hit
    }

    fn refute_early_reads(&self, state: &FillState) {
        if !self.in_flight().was_read_early() || !state.early.refuted() {
            return;
        }
        let mut error = Error::corrupt(
            "bytes that were read early are not those of the layer: discard what was read, and read it again",
        );
        if let Some(cause) = state.failures.last() {
            error = error.caused_by(cause.clone());
        }
        self.in_flight()
            .refute(error.at(&self.cache.name, "read").of_layer(&self.layer.digest));
    }
}

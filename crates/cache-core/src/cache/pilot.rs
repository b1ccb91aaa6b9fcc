//! What a flight does: search, fill, and land in any case.

use std::sync::Arc;

use super::LayerCache;
use super::fill::{FillError, fill};
use super::flight::{Flight, Key};
use super::outcomes::Outcomes;
use super::search::{Found, Hit, Search};
use super::source_set::SourceSet;
use crate::{Error, ErrorKind, LayerDescriptor, Result};

/// Owns a flight from take-off to landing. Dropping it lands the flight, with an error unless [`land`](Self::land) was
/// called: a panic or the end of the runtime must not leave anybody waiting, nor a dead flight in the table.
pub(super) struct Pilot {
    pub(super) cache: LayerCache,
    pub(super) key: Key,
    pub(super) flight: Arc<Flight>,
}

impl Pilot {
    pub(super) fn land(self, result: Result<Option<Hit>>) {
        self.cache.0.flights.remove(&self.key, &self.flight);
        self.flight.land(result);
    }

    pub(super) async fn fly(
        &self,
        layer: &LayerDescriptor,
        mut first: Option<Result<()>>,
    ) -> Result<Option<Hit>> {
        let cache = &self.cache.0;
        let closed = |_| Error::unavailable("the cache is closed");
        let _permit = cache.fills.acquire().await.map_err(closed)?;
        let mut route = Route {
            skip: self.key.skip,
            ..Route::default()
        };
        // Each round excludes a source or a tier, so there are at most two per source.
        loop {
            let (skip, no_claim, first) = (route.skip, route.no_claim, first.take());
            let search = Search {
                cache,
                layer,
                skip,
                no_claim,
                first,
            };
            let Some(Found {
                hit,
                claim,
                mut missed,
            }) = search.run(&mut route.outcomes).await?
            else {
                return match route.outcomes.into_error(&cache.name, &layer.digest) {
                    Some(error) => Err(error),
                    None => Ok(None),
                };
            };
            let Some((tier, writer)) = claim else {
                route.outcomes.passed_over();
                cache.write_back.start(&self.cache, layer, &hit, &missed);
                return Ok(Some(hit));
            };
            self.flight
                .begin_filling(writer.partial().filter(|_| cache.early_reads));
            let progress = |written| self.flight.advance(written);
            let filled = fill(
                layer,
                Arc::clone(&hit.reader),
                writer,
                cache.max_layer_bytes,
                progress,
            )
            .await;
            match filled {
                Ok((reader, _index)) => {
                    route.outcomes.passed_over();
                    missed.append(&mut self.repaired(layer, route).await);
                    let hit = Hit { source: tier, reader };
                    cache.write_back.start(&self.cache, layer, &hit, &missed);
                    return Ok(Some(hit));
                }
                Err(FillError::Tier(error)) => {
                    let error = cache.blame(tier, layer, error);
                    tracing::warn!(%error, "tier not filled");
                    route.no_claim.insert(tier);
                }
                Err(FillError::Source(error)) => {
                    let error = cache.blame(hit.source, layer, error);
                    if error.kind() == ErrorKind::Corrupt {
                        self.flight.taint(&error);
                        if cache.remove_corrupt(hit.source, layer).await {
                            route.repaired.push(hit.source);
                        }
                    }
                    route.fail(hit.source, error);
                }
                Err(FillError::Claim(error)) => {
                    let error = cache.blame(hit.source, layer, error);
                    self.flight.taint(&error);
                    route.suspects.push(hit.source);
                    route.fail(hit.source, error);
                }
            }
            self.flight.begin_searching();
        }
    }

    /// The sources that were rid of wrong bytes, once the image's claim is proven true: then the suspects were wrong.
    /// Unproven it may be the image that lies, and it must not be able to purge a good layer.
    async fn repaired(&self, layer: &LayerDescriptor, route: Route) -> Vec<usize> {
        let Route {
            suspects,
            mut repaired,
            ..
        } = route;
        for suspect in suspects {
            if self.cache.0.remove_corrupt(suspect, layer).await {
                repaired.push(suspect);
            }
        }
        repaired
    }
}

/// What a flight has found out about the sources so far.
#[derive(Debug, Default)]
struct Route {
    outcomes: Outcomes,
    /// Not asked again.
    skip: SourceSet,
    /// Not claimed again.
    no_claim: SourceSet,
    /// Have other bytes than the image claims.
    suspects: Vec<usize>,
    /// Were rid of wrong bytes.
    repaired: Vec<usize>,
}

impl Route {
    fn fail(&mut self, source: usize, error: Error) {
        self.outcomes.failed(error);
        self.skip.insert(source);
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.cache.0.flights.remove(&self.key, &self.flight);
        let lost =
            "the fill ended before its time: a source or tier panicked, or the runtime is shutting down";
        let error = Error::unavailable(lost)
            .at(&self.cache.0.name, "fill")
            .of_layer(&self.key.digest);
        self.flight.land_if_flying(error);
    }
}

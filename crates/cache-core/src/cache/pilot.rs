//! What a flight does: search, fill, and land in any case.

use std::sync::Arc;

use super::boarding::Key;
use super::early::EarlyBytes;
use super::fill::{Fill, FillError};
use super::flight::Flight;
use super::outcomes::Outcomes;
use super::search::{Found, Hit, Search};
use super::source_set::SourceSet;
use super::{Inner, LayerCache};
use crate::{Error, ErrorKind, LayerDescriptor, Result};

/// Owns a flight from take-off to landing. Dropping it lands the flight, with an error unless [`land`](Self::land) was
/// called: a panic or the end of the runtime must not leave anybody waiting, nor a dead flight in the table.
pub(super) struct Pilot {
    cache: LayerCache,
    key: Key,
    flight: Arc<Flight>,
}

impl Pilot {
    pub(super) fn new(cache: &Arc<Inner>, key: Key, flight: Arc<Flight>) -> Self {
        Self {
            cache: LayerCache(Arc::clone(cache)),
            key,
            flight,
        }
    }

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
        let _permit = match cache.fills.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                // What the first source has said may be outdated when the turn comes.
                first = None;
                cache.fills.acquire().await.map_err(closed)?
            }
        };
        let mut route = Route {
            skip: self.key.skip,
            ..Route::new(cache.early_reads)
        };
        // Each round excludes a source or a tier, so there are at most two per source.
        loop {
            let (no_claim, first) = (route.no_claim, first.take());
            let search = Search {
                cache,
                layer,
                skip: &mut route.skip,
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
            let fill = Fill::new(layer, &hit.reader, cache.max_layer_bytes, &mut route.early);
            let (failed, tier) = match claim {
                None if fill.has_early_bytes() && self.flight.was_read_early() => match fill.prove().await {
                    Ok(()) => return Ok(Some(self.served(layer, hit, &missed, route).await)),
                    Err(error) => (error, None),
                },
                None => return Ok(Some(self.served(layer, hit, &missed, route).await)),
                Some((tier, writer)) => {
                    self.flight
                        .begin_filling(writer.partial().filter(|_| cache.early_reads));
                    match fill.into(writer, |written| self.flight.advance(written)).await {
                        Ok(reader) => {
                            missed.append(&mut self.repaired(layer, &mut route).await);
                            let hit = Hit { source: tier, reader };
                            return Ok(Some(self.served(layer, hit, &missed, route).await));
                        }
                        Err(error) => (error, Some(tier)),
                    }
                }
            };
            self.flight.begin_searching();
            match (failed, tier) {
                (FillError::Tier(error), Some(tier)) => {
                    let error = cache.blame(tier, layer, error);
                    tracing::warn!(%error, "tier not filled");
                    route.no_claim.insert(tier);
                }
                (FillError::Source(error) | FillError::Tier(error), _) => {
                    let error = cache.blame(hit.source, layer, error);
                    if error.kind() == ErrorKind::Corrupt && cache.remove_corrupt(hit.source, layer).await {
                        route.repaired.push(hit.source);
                    }
                    route.fail(hit.source, error);
                }
                (FillError::DiffId(error), _) => {
                    let error = cache.blame(hit.source, layer, error);
                    route.suspects.push(hit.source);
                    route.fail(hit.source, error);
                }
            }
        }
    }

    /// Ends the flight well: with what is known now about the sources that failed, and about what was read early.
    async fn served(&self, layer: &LayerDescriptor, hit: Hit, missed: &[usize], mut route: Route) -> Hit {
        if self.flight.was_read_early() && route.early.refuted() {
            let mut error = Error::corrupt("bytes that were read early are not those of the layer");
            if let Some(cause) = route.outcomes.last() {
                error = error.caused_by(cause.clone());
            }
            self.flight
                .refute(error.at(&self.cache.0.name, "read").of_layer(&layer.digest));
        }
        route.outcomes.passed_over();
        self.cache.0.write_back.start(&self.cache, layer, &hit, missed);
        hit
    }

    /// The sources that were rid of wrong bytes, once the image's claim is proven true: then the suspects were wrong.
    /// Unproven it may be the image that lies, and it must not be able to purge a good layer.
    async fn repaired(&self, layer: &LayerDescriptor, route: &mut Route) -> Vec<usize> {
        for suspect in std::mem::take(&mut route.suspects) {
            if self.cache.0.remove_corrupt(suspect, layer).await {
                route.repaired.push(suspect);
            }
        }
        std::mem::take(&mut route.repaired)
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
    early: EarlyBytes,
}

impl Route {
    fn new(early_reads: bool) -> Self {
        Self {
            early: EarlyBytes::new(early_reads),
            ..Self::default()
        }
    }

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

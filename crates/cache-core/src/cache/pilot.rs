//! What a flight does: search, fill, and land in any case.

use std::sync::Arc;

use super::boarding::Key;
use super::claims::Claimed;
use super::fill::{Fill, FillError};
use super::flight::Flight;
use super::keeper::Lessee;
use super::route::Route;
use super::search::{Found, Hit, Search};
use super::{Inner, LayerCache};
use crate::{Error, ErrorKind, LayerDescriptor, Result, planted};

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
        let flights = &self.cache.0.flights;
        flights.end(&self.key, &self.flight, |flight| flight.land(result));
    }

    pub(super) async fn fly(
        &self,
        layer: &LayerDescriptor,
        mut first: Option<Result<()>>,
    ) -> Result<Option<Hit>> {
        let cache = &self.cache.0;
        let closed = |_| {
            Error::unavailable("the cache is closed")
                .at(&cache.name, "open")
                .of_layer(&layer.digest)
        };
        let _permit = match cache.fills.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                // What the first source has said may be outdated when the turn comes.
                first = None;
                cache.fills.acquire().await.map_err(closed)?
            }
        };
        let mut route = Route::new(self.key.skip, cache.early_reads);
        let lessee = Lessee::new(&cache.lease_tasks);
        // Each round excludes a source or a tier, so there are at most two per source.
        loop {
            let search = Search {
                cache,
                layer,
                route: &mut route,
                first: first.take(),
                lessee: &lessee,
            };
            let Some(Found { hit, claims }) = search.run().await? else {
                return match route.outcomes.into_error(&cache.name, &layer.digest) {
                    Some(error) => Err(error),
                    None => Ok(None),
                };
            };
            let entry = &cache.sources[hit.source];
            if !entry.is_copied() {
                return Ok(Some(self.served(layer, hit, &[], route).await));
            }
            if entry.serves_at_once(&*hit.reader) && claims.fills_on_the_way() {
                route.early.keep();
                self.flight.begin_serving(hit.clone());
            }
            let (claimed, mut missed, refused) = claims.claim(entry.reads_ranges(&*hit.reader)).await?;
            route.refused = refused.or(route.refused);
            let fill = Fill::new(layer, &hit.reader, cache.max_layer_bytes, &mut route.early);
            let (failed, tier) = match claimed {
                Claimed::Filled(hit) => return Ok(Some(self.served(layer, hit, &missed, route).await)),
                Claimed::None if fill.has_early_bytes() && self.flight.was_read_early() => {
                    match fill.prove().await {
                        Ok(()) => return Ok(Some(self.served(layer, hit, &missed, route).await)),
                        Err(error) => (error, None),
                    }
                }
                Claimed::None => return Ok(Some(self.served(layer, hit, &missed, route).await)),
                Claimed::Tier(tier, writer) => {
                    if self.flight.is_serving() {
                        self.flight.head_start().await;
                    }
                    self.flight.begin_filling(writer.partial(), cache.early_reads);
                    let progress = |written| {
                        self.flight.advance(written);
                        lessee.work().tell(written);
                    };
                    let fill = fill.into(writer, progress);
                    let filled = match &cache.sources[tier].meters {
                        Some(meters) => meters.fill(&entry.failed_fills, fill).await,
                        None => fill.await,
                    };
                    match filled {
                        Ok(reader) => {
                            if !entry.is_origin() {
                                let source = entry.source.name();
                                tracing::info!(digest = %layer.digest, source, bytes = reader.len(), "loaded from remote cache");
                            }
                            missed.append(&mut self.repaired(layer, &mut route).await);
                            let hit = Hit::filled(tier, hit.source, reader);
                            return Ok(Some(self.served(layer, hit, &missed, route).await));
                        }
                        Err(error) => (error, Some(tier)),
                    }
                }
            };
            match (failed, tier) {
                (FillError::Tier(error), Some(tier)) => {
                    // What is served from the source goes on.
                    self.flight.end_filling();
                    let error = cache.blame(tier, layer, error);
                    tracing::warn!(%error, "tier not filled");
                    route.refused = Some((tier, error));
                    route.no_claim.insert(tier);
                }
                (FillError::Source(error) | FillError::Tier(error), _) => {
                    let error = cache.blame(hit.source, layer, error);
                    let corrupt = error.kind() == ErrorKind::Corrupt;
                    self.flight.begin_searching(corrupt);
                    if corrupt && cache.remove_corrupt(hit.source, layer).await {
                        route.repaired.push(hit.source);
                    }
                    route.fail(hit.source, error);
                }
                (FillError::DiffId(error), _) => {
                    self.flight.begin_searching(true);
                    route.suspect(hit.source, cache.blame(hit.source, layer, error));
                }
            }
        }
    }

    /// Ends the flight well: with what is known now about the sources that failed, and about what was read early.
    async fn served(&self, layer: &LayerDescriptor, mut hit: Hit, missed: &[usize], mut route: Route) -> Hit {
        if self.flight.was_read_early() && route.early.refuted() && !planted::is("early-bytes-not-refuted") {
            let mut error = Error::corrupt(
                "bytes that were read early are not those of the layer: discard what was read, and read it again",
            );
            if let Some(cause) = route.outcomes.last() {
                error = error.caused_by(cause.clone());
            }
            self.flight
                .refute(error.at(&self.cache.0.name, "read").of_layer(&layer.digest));
        }
        route.outcomes.passed_over();
        let cache = &self.cache.0;
        // One that had refused may have been asked again, and has taken it.
        let refused = route.refused.take().filter(|(tier, _)| *tier != hit.source);
        hit.refused = refused.map(|(_, error)| error);
        hit.copied_to = cache
            .write_back
            .start(cache, layer, &hit, missed, route.lease.take())
            .await;
        hit
    }

    /// Those of the sources that were rid of wrong bytes that take layers, once the image's claim is proven true: then the suspects
    /// were wrong. Unproven it may be the image that lies, and it must not be able to purge a good layer.
    async fn repaired(&self, layer: &LayerDescriptor, route: &mut Route) -> Vec<usize> {
        for suspect in std::mem::take(&mut route.suspects) {
            if self.cache.0.remove_corrupt(suspect, layer).await {
                route.repaired.push(suspect);
            }
        }
        let mut repaired = std::mem::take(&mut route.repaired);
        repaired.retain(|&source| self.cache.0.sources[source].takes_layers());
        repaired
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        let lost =
            "the fill ended before its time: a source or tier panicked, or the runtime is shutting down";
        let error = Error::unavailable(lost)
            .at(&self.cache.0.name, "fill")
            .of_layer(&self.key.digest);
        let flights = &self.cache.0.flights;
        flights.end(&self.key, &self.flight, |flight| flight.land_if_flying(error));
    }
}

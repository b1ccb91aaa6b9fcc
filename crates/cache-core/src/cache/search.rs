//! Asking the sources in order.

use std::sync::Arc;

use super::Inner;
use super::claims::Claims;
use super::keeper::{Lessee, Turn};
use super::route::Route;
use super::source_set::SourceSet;
use crate::{Error, ErrorKind, LayerDescriptor, LayerReader, Result, planted};

/// Where a layer was found.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    pub(super) source: usize,
    /// Where its bytes were found: the source itself, or that which it was filled from just now.
    pub(super) from: usize,
    /// The tiers that are filled from here by write-backs, which were made or begun.
    pub(super) copied_to: SourceSet,
    /// Why the tier that was to be filled with it was not: of several, the last.
    pub(super) refused: Option<Error>,
    pub(super) reader: Arc<dyn LayerReader>,
}

impl Hit {
    /// What was there.
    pub(super) fn at(source: usize, reader: Arc<dyn LayerReader>) -> Self {
        Self::filled(source, source, reader)
    }

    /// What is at `source` since just now, and was found at `from`.
    pub(super) fn filled(source: usize, from: usize, reader: Arc<dyn LayerReader>) -> Self {
        Self {
            source,
            from,
            copied_to: SourceSet::default(),
            refused: None,
            reader,
        }
    }
}

/// What a search found, and the tiers in front of it that lack it.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) hit: Hit,
    pub(super) claims: Claims<'a>,
}

impl<'a> Found<'a> {
    fn new(hit: Hit, claims: Claims<'a>) -> Self {
        let claims = claims.in_front_of(hit.source);
        Self { hit, claims }
    }
}

/// One walk along the sources of a cache.
#[derive(Debug)]
pub(super) struct Search<'a, 'r> {
    pub(super) cache: &'a Inner,
    pub(super) layer: &'a LayerDescriptor,
    pub(super) route: &'r mut Route,
    /// What the first source has just said, if that is known.
    pub(super) first: Option<Result<()>>,
    pub(super) lessee: &'r Lessee,
}

impl<'a> Search<'a, '_> {
    /// Asks until a source has the layer. Errors are collected in the route; one that ends the search is returned.
    ///
    /// A source that serves readers at once costs little to ask. Before any other is asked, the tier that is filled on the
    /// way is claimed, so that those sources are asked once per host; and before an origin is asked, the lease on the layer
    /// is, so that it is asked once per cluster.
    pub(super) async fn run(mut self) -> Result<Option<Found<'a>>> {
        let mut claims = Claims::new(self.cache, self.layer, self.route.no_claim);
        let mut leased_at = None;
        for (source, entry) in self.cache.sources.iter().enumerate() {
            if self.route.skip.contains(source) {
                continue;
            }
            let known = if source == 0 { self.first.take() } else { None };
            if known.is_none() && !entry.likely_serves_at_once() {
                if let Some(hit) = claims.hold_on_the_way().await? {
                    return Ok(Some(Found::new(hit, claims)));
                }
                if let (true, Some(at)) = (entry.is_origin() && entry.is_copied(), leased_at)
                    && let Some(hit) = self.lease(at).await
                {
                    return Ok(Some(Found::new(hit, claims)));
                }
            }
            let opened = match known {
                Some(outcome) => outcome.map(|()| None),
                None => entry.source.open(self.layer).await,
            };
            match opened {
                Ok(Some(reader)) => {
                    let hit = Hit::at(source, reader);
                    return Ok(Some(Found::new(hit, claims)));
                }
                Ok(None) => {}
                Err(_) if planted::is("outage-is-a-miss") => {}
                Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
                Err(error) if error.kind() == ErrorKind::Disputed => {
                    self.route.suspect(source, error);
                    continue;
                }
                Err(error) => {
                    let corrupt = error.kind() == ErrorKind::Corrupt;
                    self.route.outcomes.failed(error);
                    // A tier rid of its wrong bytes can be filled afresh; one that is down is left alone.
                    if !(corrupt && self.cache.remove_corrupt(source, self.layer).await) {
                        self.route.skip.insert(source);
                        continue;
                    }
                }
            }
            claims.missed(source);
            if entry.options.leases.is_some() && entry.takes_layers() {
                leased_at.get_or_insert(source);
            }
        }
        Ok(None)
    }

    /// Waits for this worker's turn to ask an origin, or for what another worker publishes at the tier `source`.
    async fn lease(&mut self, source: usize) -> Option<Hit> {
        if std::mem::replace(&mut self.route.lease_settled, true) {
            return None;
        }
        match self.lessee.wait(self.cache, source, self.layer).await {
            Turn::Mine(keeper) => {
                self.route.lease = Some(keeper);
                None
            }
            Turn::Published(hit) => Some(hit),
            Turn::Alone => None,
        }
    }
}

impl Inner {
    /// Removes a layer that was found wrong from the source it was found in; whether that is a tier and it is gone.
    pub(super) async fn remove_corrupt(&self, source: usize, layer: &LayerDescriptor) -> bool {
        let Some(tier) = &self.sources[source].tier else {
            return false;
        };
        if planted::is("corrupt-hit-not-removed") {
            return true;
        }
        match tier.remove(&layer.digest).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "corrupt layer not removed");
                false
            }
        }
    }

    /// `error` with the name of the source it came from, if it does not say.
    pub(super) fn blame(&self, source: usize, layer: &LayerDescriptor, error: Error) -> Error {
        error
            .at(self.sources[source].source.name(), "read")
            .of_layer(&layer.digest)
    }
}

//! Asking the sources in order, and claiming the tier that is to be filled.

use std::sync::Arc;

use super::Inner;
use super::outcomes::Outcomes;
use super::source_set::SourceSet;
use crate::{Claim, Error, ErrorKind, LayerDescriptor, LayerReader, LayerSource, LayerWriter, Result, Tier};

/// One source of a cache; `tier` is the same object where it can be filled.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) source: Arc<dyn LayerSource>,
    pub(super) tier: Option<Arc<dyn Tier>>,
}

impl Entry {
    pub(super) fn source(source: Arc<dyn LayerSource>) -> Self {
        Self { source, tier: None }
    }

    pub(super) fn tier(tier: Arc<dyn Tier>) -> Self {
        Self {
            source: Arc::clone(&tier) as _,
            tier: Some(tier),
        }
    }
}

/// Where a layer was found.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    pub(super) source: usize,
    pub(super) reader: Arc<dyn LayerReader>,
}

/// What a search found, and the tiers in front of it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) hit: Hit,
    /// The tier to fill before the layer is read; without one the hit is read where it is.
    pub(super) claim: Option<(usize, Box<dyn LayerWriter>)>,
    /// Further tiers in front that do not have the layer.
    pub(super) missed: Vec<usize>,
}

/// One walk along the sources of a cache.
#[derive(Debug)]
pub(super) struct Search<'a> {
    pub(super) cache: &'a Inner,
    pub(super) layer: &'a LayerDescriptor,
    /// Not asked at all; sources that fail are added, so that each costs its time-out once.
    pub(super) skip: &'a mut SourceSet,
    /// Not filled.
    pub(super) no_claim: SourceSet,
    /// What the first source has just said, if that is known.
    pub(super) first: Option<Result<()>>,
}

impl Search<'_> {
    /// Asks until a source has the layer. Errors are collected in `outcomes`; one that ends the search is returned.
    ///
    /// A tier that can be read while it is written is claimed as soon as it has said that it lacks the layer, *before* the
    /// farther sources are asked: so those are asked once per host, not once per process.
    pub(super) async fn run(mut self, outcomes: &mut Outcomes) -> Result<Option<Found>> {
        let mut claim = None;
        let mut missed = Vec::new();
        for (source, entry) in self.cache.sources.iter().enumerate() {
            if self.skip.contains(source) {
                continue;
            }
            let opened = match self.first.take() {
                Some(outcome) if source == 0 => outcome.map(|()| None),
                _ => entry.source.open(self.layer).await,
            };
            match opened {
                Ok(Some(reader)) => {
                    let hit = Hit { source, reader };
                    return self.settle(hit, claim, missed).await.map(Some);
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
                Err(error) => {
                    let corrupt = error.kind() == ErrorKind::Corrupt;
                    outcomes.failed(error);
                    // A tier rid of its wrong bytes can be filled afresh; one that is down is left alone.
                    if !(corrupt && self.cache.remove_corrupt(source, self.layer).await) {
                        self.skip.insert(source);
                        continue;
                    }
                }
            }
            let Some(tier) = &entry.tier else { continue };
            if self.no_claim.contains(source) {
                continue;
            }
            if claim.is_some() || !entry.source.capabilities().read_while_write {
                missed.push(source);
                continue;
            }
            match self.create(tier).await? {
                Some(Claim::Write(writer)) => claim = Some((source, writer)),
                Some(Claim::Exists(reader)) => {
                    return Ok(Some(Found {
                        hit: Hit { source, reader },
                        claim: None,
                        missed,
                    }));
                }
                None => {}
            }
        }
        Ok(None)
    }

    /// Decides how a hit is served: through a fill, or where it is.
    async fn settle(
        &self,
        hit: Hit,
        claim: Option<(usize, Box<dyn LayerWriter>)>,
        mut missed: Vec<usize>,
    ) -> Result<Found> {
        let capabilities = self.cache.sources[hit.source].source.capabilities();
        if claim.is_some() || (capabilities.random_access && capabilities.verified) {
            return Ok(Found { hit, claim, missed });
        }
        // An origin, and no tier that can be read while it is written: fill the first that takes the layer.
        for position in 0..missed.len() {
            let source = missed[position];
            let Some(tier) = &self.cache.sources[source].tier else {
                continue;
            };
            match self.create(tier).await? {
                Some(Claim::Write(writer)) => {
                    missed.remove(position);
                    return Ok(Found {
                        hit,
                        claim: Some((source, writer)),
                        missed,
                    });
                }
                Some(Claim::Exists(reader)) => {
                    missed.truncate(position);
                    return Ok(Found {
                        hit: Hit { source, reader },
                        claim: None,
                        missed,
                    });
                }
                None => {}
            }
        }
        Ok(Found {
            hit,
            claim: None,
            missed: Vec::new(),
        })
    }

    /// Claims a tier; one that cannot take the layer is not an obstacle to reading it.
    async fn create(&self, tier: &Arc<dyn Tier>) -> Result<Option<Claim>> {
        match tier.create(self.layer).await {
            Ok(claim) => Ok(Some(claim)),
            Err(error) if error.kind() == ErrorKind::Invalid => Err(error),
            Err(error) => {
                tracing::warn!(%error, "tier not filled");
                Ok(None)
            }
        }
    }
}

impl Inner {
    /// Removes a layer that was found wrong from the source it was found in; whether that is a tier and it is gone.
    pub(super) async fn remove_corrupt(&self, source: usize, layer: &LayerDescriptor) -> bool {
        let Some(tier) = &self.sources[source].tier else {
            return false;
        };
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

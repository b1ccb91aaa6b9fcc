//! Claiming the tier that a layer is copied into before, or while, it is read.

use super::entry::Entry;
use super::hit::Hit;
use super::planner::Planner;
use super::source_set::SourceSet;
use crate::{Claim, Error, ErrorKind, LayerDescriptor, LayerWriter, Result};

/// The result of claiming a tier.
#[derive(Debug)]
pub(super) enum Claimed {
    /// The tier is to be written.
    Tier(usize, Box<dyn LayerWriter>),
    /// Somebody else has filled it.
    Filled(Hit),
    /// No tier takes the layer.
    None,
}

/// The tier that is filled first, and what is left beside it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) claimed: Claimed,
    /// The tiers that are to be filled from there.
    pub(super) further: Vec<usize>,
    /// The last tier that did not take the layer, and why.
    pub(super) refused: Option<(usize, Error)>,
}

/// The tiers that lack a layer, one of which may be claimed already.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    sources: &'a [Entry],
    layer: &'a LayerDescriptor,
    planner: Planner,
    held: Option<(usize, Box<dyn LayerWriter>)>,
    refused: Option<(usize, Error)>,
}

impl<'a> Claims<'a> {
    /// Begins without any tier. Those in `except` are not claimed.
    pub(super) fn new(sources: &'a [Entry], layer: &'a LayerDescriptor, except: SourceSet) -> Self {
        Self {
            sources,
            layer,
            planner: Planner::new(except),
            held: None,
            refused: None,
        }
    }

    /// Notes that this source lacks the layer.
    pub(super) fn lacks(&mut self, source: usize) {
        self.planner.lacks(source, self.sources[source].rules);
    }

    /// The tier whose lease is taken before this source is asked.
    pub(super) fn lease_before(&self, source: usize) -> Option<usize> {
        self.planner.lease_before(self.sources[source].rules)
    }

    /// Notes that the layer was found at `source`: tiers behind that are not filled.
    pub(super) fn in_front_of(mut self, source: usize) -> Self {
        self.planner.keep_in_front_of(source);
        self.held = self.held.filter(|(held, _)| *held < source);
        self
    }

    /// Whether there is a tier to be filled while the layer is read.
    pub(super) fn fills_on_the_way(&self) -> bool {
        self.held.is_some() || self.planner.fills_on_the_way()
    }

    /// Claims the nearest tier that can be read while it is written, and holds it until [`claim`](Self::claim). Returns the
    /// layer if it is there by now.
    pub(super) async fn hold_on_the_way(&mut self) -> Result<Option<Hit>> {
        match self.claim_next(true).await? {
            Claimed::Tier(source, writer) => self.held = Some((source, writer)),
            Claimed::Filled(hit) => return Ok(Some(hit)),
            Claimed::None => {}
        }
        Ok(None)
    }

    /// Claims the tier to fill from a source that does or does not read ranges.
    pub(super) async fn claim(mut self, reads_ranges: bool) -> Result<Target> {
        Ok(Target {
            claimed: self.claim_next(reads_ranges).await?,
            further: self.planner.left(),
            refused: self.refused,
        })
    }

    /// Claims the first tier that takes the layer; those that do not are no obstacle to reading it.
    async fn claim_next(&mut self, reads_ranges: bool) -> Result<Claimed> {
        if let Some((source, writer)) = self.held.take() {
            return Ok(Claimed::Tier(source, writer));
        }
        while let Some(source) = self.planner.take_next_to_fill(reads_ranges) {
            let Some(tier) = &self.sources[source].tier else {
                continue;
            };
            match tier.create(self.layer).await {
                Ok(Claim::Write(writer)) => return Ok(Claimed::Tier(source, writer)),
                Ok(Claim::Exists(reader)) => {
                    // The worker that has filled it fills the tiers behind it as well.
                    self.planner.keep_in_front_of(source);
                    return Ok(Claimed::Filled(Hit::at(source, reader)));
                }
                Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "tier not filled");
                    self.refused = Some((source, error));
                }
            }
        }
        Ok(Claimed::None)
    }
}

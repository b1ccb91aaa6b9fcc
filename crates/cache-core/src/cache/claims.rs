//! Claiming the tier that a layer is copied into before, or while, it is read.

use super::Inner;
use super::search::Hit;
use super::source_set::SourceSet;
use crate::{Claim, Error, ErrorKind, LayerDescriptor, LayerWriter, Result, planted};

/// What came of claiming a tier.
#[derive(Debug)]
pub(super) enum Claimed {
    /// It is to be written.
    Tier(usize, Box<dyn LayerWriter>),
    /// Somebody else has filled it.
    Filled(Hit),
    /// No tier takes the layer.
    None,
}

/// The tiers that lack a layer.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    cache: &'a Inner,
    layer: &'a LayerDescriptor,
    /// Not claimed.
    except: SourceSet,
    /// Tiers to be filled from behind, from the nearest to the farthest.
    missed: Vec<usize>,
    held: Option<(usize, Box<dyn LayerWriter>)>,
    /// The error of the last tier that did not take the layer.
    refused: Option<(usize, Error)>,
}

impl<'a> Claims<'a> {
    pub(super) fn new(cache: &'a Inner, layer: &'a LayerDescriptor, except: SourceSet) -> Self {
        Self {
            cache,
            layer,
            except,
            missed: Vec::new(),
            held: None,
            refused: None,
        }
    }

    /// This tier lacks the layer.
    pub(super) fn missed(&mut self, source: usize) {
        if self.cache.sources[source].takes_layers() && !self.except.contains(source) {
            self.missed.push(source);
        }
    }

    /// The layer was found at `source`: what stands behind that is not filled.
    pub(super) fn in_front_of(mut self, source: usize) -> Self {
        if planted::is("tiers-behind-the-hit-filled") {
            return self;
        }
        self.missed.retain(|&missed| missed < source);
        self.held = self.held.filter(|(held, _)| *held < source);
        self
    }

    /// Whether there is a tier to be filled while the layer is read.
    pub(super) fn fills_on_the_way(&self) -> bool {
        let on_the_way = |&source: &usize| self.cache.sources[source].fills_on_the_way();
        self.held.is_some() || self.missed.iter().any(on_the_way)
    }

    /// Claims the nearest tier that can be read while it is written, and holds it until [`claim`](Self::claim); or tells that it is
    /// filled by now.
    pub(super) async fn hold_on_the_way(&mut self) -> Result<Option<Hit>> {
        match self.claim_on_the_way().await? {
            Claimed::Tier(source, writer) => self.held = Some((source, writer)),
            Claimed::Filled(hit) => return Ok(Some(hit)),
            Claimed::None => {}
        }
        Ok(None)
    }

    /// Claims the tier to fill, and returns it with those that are left to be filled from there, and with the error of the last that did
    /// not take the layer. A source that serves ranges is read where it is, unless a tier is filled on the way. Any other is read once,
    /// so that any tier will do, and none is filled without.
    pub(super) async fn claim(
        mut self,
        reads_ranges: bool,
    ) -> Result<(Claimed, Vec<usize>, Option<(usize, Error)>)> {
        let mut claimed = self.claim_on_the_way().await?;
        if !reads_ranges && matches!(claimed, Claimed::None) {
            claimed = self.claim_first(|_| true).await?;
            if matches!(claimed, Claimed::None) {
                self.missed.clear();
            }
        }
        Ok((claimed, self.missed, self.refused))
    }

    async fn claim_on_the_way(&mut self) -> Result<Claimed> {
        if let Some((source, writer)) = self.held.take() {
            return Ok(Claimed::Tier(source, writer));
        }
        let cache = self.cache;
        self.claim_first(|source| cache.sources[source].fills_on_the_way())
            .await
    }

    /// Claims the first tier that takes the layer; those that do not are no obstacle to reading it.
    async fn claim_first(&mut self, wanted: impl Fn(usize) -> bool) -> Result<Claimed> {
        while let Some(position) = self.missed.iter().position(|&source| wanted(source)) {
            let source = self.missed.remove(position);
            let Some(tier) = &self.cache.sources[source].tier else {
                continue;
            };
            match tier.create(self.layer).await {
                Ok(Claim::Write(writer)) => return Ok(Claimed::Tier(source, writer)),
                Ok(Claim::Exists(reader)) => {
                    // Whoever has filled it fills the tiers behind it as well.
                    self.missed.retain(|&missed| missed < source);
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

//! Asking the sources in order.

use super::claims::Claims;
use super::entry::Entry;
use super::fill_state::FillState;
use super::hit::Hit;
use super::lease::{Lessee, Turn};
use super::planner::Verdict;
use crate::{LayerDescriptor, Result};

/// A layer that a search found, and the tiers in front of it that lack it.
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
    pub(super) sources: &'a [Entry],
    pub(super) layer: &'a LayerDescriptor,
    pub(super) state: &'r mut FillState,
    /// The answer that the first source has just given, if it is known.
    pub(super) first: Option<Result<()>>,
    pub(super) lessee: &'r Lessee,
}

impl<'a> Search<'a, '_> {
    /// Asks until a source has the layer. Errors are collected in the state; one that ends the search is returned.
    ///
    /// A source that serves readers at once costs little to ask. Before any other is asked, the tier that is filled on the
    /// way is claimed, so that those sources are asked once per host; and before an origin is asked, the lease on the layer
    /// is, so that it is asked once per cluster.
    pub(super) async fn run(mut self) -> Result<Option<Found<'a>>> {
        let mut claims = Claims::new(self.sources, self.layer, self.state.no_claim);
        for (source, entry) in self.sources.iter().enumerate() {
            if self.state.skip.contains(source) {
                continue;
            }
            let known = if source == 0 { self.first.take() } else { None };
            if known.is_none()
                && let Some(hit) = self.prepare(source, &mut claims).await?
            {
                return Ok(Some(Found::new(hit, claims)));
            }
            let opened = match known {
                Some(outcome) => outcome.map(|()| None),
                None => entry.source.open(self.layer).await,
            };
            match opened {
                Ok(Some(reader)) => return Ok(Some(Found::new(Hit::at(source, reader), claims))),
                Ok(None) => claims.lacks(source),
                Err(error) => match entry.rules.judge(error.kind()) {
                    Verdict::EndSearch => return Err(error),
                    Verdict::Suspect => self.state.suspect(source, error),
                    Verdict::PassOver => self.state.fail(source, error),
                    Verdict::Remove => {
                        self.state.failures.add(error);
                        // A tier rid of its wrong bytes can be filled afresh; one that is down is left alone.
                        match entry.remove_corrupt(self.layer).await {
                            true => claims.lacks(source),
                            false => self.state.skip.insert(source),
                        }
                    }
                },
            }
        }
        Ok(None)
    }

    /// Does what has to be done before `source` is asked. Returns the layer if another worker has brought it meanwhile.
    async fn prepare(&mut self, source: usize, claims: &mut Claims<'a>) -> Result<Option<Hit>> {
        if self.sources[source].rules.is_cheap_to_ask() {
            return Ok(None);
        }
        if let Some(hit) = claims.hold_on_the_way().await? {
            return Ok(Some(hit));
        }
        match claims.lease_before(source) {
            Some(tier) => Ok(self.lease(tier).await),
            None => Ok(None),
        }
    }

    /// Waits for this worker's turn to ask an origin, or for the layer that another worker publishes at `tier`.
    async fn lease(&mut self, tier: usize) -> Option<Hit> {
        if std::mem::replace(&mut self.state.lease_settled, true) {
            return None;
        }
        match self.lessee.wait(tier, &self.sources[tier], self.layer).await {
            Turn::Mine(lease) => {
                self.state.lease = Some(lease);
                None
            }
            Turn::Published(hit) => Some(hit),
            Turn::Alone => None,
        }
    }
}

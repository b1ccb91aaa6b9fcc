//! What a flight has found out about the sources so far.

use super::early::EarlyBytes;
use super::keeper::LeaseKeeper;
use super::outcomes::Outcomes;
use super::source_set::SourceSet;
use crate::Error;

#[derive(Debug, Default)]
pub(super) struct Route {
    pub(super) outcomes: Outcomes,
    /// Not asked at all; sources that fail are added, so that each costs its time-out once.
    pub(super) skip: SourceSet,
    /// Not claimed again.
    pub(super) no_claim: SourceSet,
    /// Have other bytes than the image claims.
    pub(super) suspects: Vec<usize>,
    /// Were rid of wrong bytes.
    pub(super) repaired: Vec<usize>,
    /// Of the tiers that were to be filled and were not, the error of the last.
    pub(super) refused: Option<(usize, Error)>,
    pub(super) early: EarlyBytes,
    /// The lease on the layer, while this worker holds it.
    pub(super) lease: Option<LeaseKeeper>,
    /// Whether a lease was asked for, whatever came of it.
    pub(super) lease_settled: bool,
}

impl Route {
    pub(super) fn new(skip: SourceSet, early_reads: bool) -> Self {
        Self {
            skip,
            early: EarlyBytes::new(early_reads),
            ..Self::default()
        }
    }

    pub(super) fn fail(&mut self, source: usize, error: Error) {
        self.outcomes.failed(error);
        self.skip.insert(source);
    }

    /// The source has other bytes than the image claims; which of both is wrong is not known yet.
    pub(super) fn suspect(&mut self, source: usize, error: Error) {
        self.suspects.push(source);
        self.fail(source, error);
    }
}

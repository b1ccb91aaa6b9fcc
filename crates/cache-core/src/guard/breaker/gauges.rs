//! What the metrics tell of a breaker.

use metrics::{Counter, Gauge};

use super::circuit::BreakerState;
use crate::metrics::{BREAKER_OPENINGS, BREAKER_STATE, STATE, TIER};

/// The metrics of one breaker. It adds to the gauge of the state that it gets into and takes away from that of the one it leaves: the sum is
/// right in whatever order the changes are told, and of any number of breakers with the same name.
#[derive(Debug)]
pub(super) struct BreakerGauges {
    closed: Gauge,
    open: Gauge,
    half_open: Gauge,
    openings: Counter,
}

impl BreakerGauges {
    /// Of a breaker that is closed.
    pub(super) fn new(tier: &str) -> Self {
        let of = |state| BREAKER_STATE.gauge(&[(TIER, tier), (STATE, state)]);
        let gauges = Self {
            closed: of("closed"),
            open: of("open"),
            half_open: of("half_open"),
            openings: BREAKER_OPENINGS.counter(&[(TIER, tier)]),
        };
        gauges.closed.increment(1.0);
        gauges
    }

    pub(super) fn moved(&self, before: BreakerState, after: BreakerState) {
        if before != after {
            self.of(after).increment(1.0);
            self.of(before).decrement(1.0);
        }
    }

    pub(super) fn opened(&self) {
        self.openings.increment(1);
    }

    /// The breaker is no more.
    pub(super) fn gone(&self, state: BreakerState) {
        self.of(state).decrement(1.0);
    }

    fn of(&self, state: BreakerState) -> &Gauge {
        match state {
            BreakerState::Closed => &self.closed,
            BreakerState::Open => &self.open,
            BreakerState::HalfOpen => &self.half_open,
        }
    }
}

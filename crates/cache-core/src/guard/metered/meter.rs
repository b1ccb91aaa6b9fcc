//! What the metrics tell of one source.

use std::array;
use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::guard::policy::Operation;
use crate::metrics::{
    FAR_BYTES, FILLED_BYTES, OPERATION, OUTCOME, Outcome, READ_BYTES, REQUEST_SECONDS, REQUESTS, Reads, TIER,
};

const OPERATIONS: [Operation; 9] = [
    Operation::Open,
    Operation::Read,
    Operation::Stream,
    Operation::Create,
    Operation::Write,
    Operation::Commit,
    Operation::Abort,
    Operation::Remove,
    Operation::List,
];

/// The metrics of one source.
#[derive(Debug)]
pub(super) struct Meter {
    tier: Box<str>,
    /// By operation and outcome.
    series: [[Series; Outcome::COUNT]; OPERATIONS.len()],
    read_bytes: Counter,
    filled_bytes: Counter,
    /// Of a source that is not local.
    far_bytes: Option<Counter>,
}

/// Requests of one kind that ended in one way.
#[derive(Debug)]
struct Series {
    count: Counter,
    /// A histogram is many series, and most of what can happen never does: it is there from its first sample on. A counter has to be
    /// there before, for the step from nothing to 1 is not seen by who watches its rate.
    seconds: OnceLock<Histogram>,
}

impl Meter {
    pub(super) fn new(tier: &str, local: bool) -> Self {
        let of_tier = [(TIER, tier)];
        Self {
            tier: tier.into(),
            series: OPERATIONS.map(|operation| array::from_fn(|of| Series::new(tier, operation, of))),
            read_bytes: READ_BYTES.counter(&of_tier),
            filled_bytes: FILLED_BYTES.counter(&of_tier),
            far_bytes: (!local).then(|| FAR_BYTES.counter(&[])),
        }
    }

    pub(super) fn is_far(&self) -> bool {
        self.far_bytes.is_some()
    }

    pub(super) fn count(&self, operation: Operation, outcome: Outcome) {
        self.of(operation, outcome).count.increment(1);
    }

    pub(super) fn time(&self, operation: Operation, outcome: Outcome, took: Duration) {
        let seconds = self
            .of(operation, outcome)
            .seconds
            .get_or_init(|| REQUEST_SECONDS.histogram(&labels(&self.tier, operation, outcome)));
        seconds.record(took.as_secs_f64());
    }

    /// Reads that were not counted one by one.
    pub(super) fn add_reads(&self, Reads { reads, bytes }: Reads) {
        if (reads, bytes) == (0, 0) {
            return;
        }
        self.of(Operation::Read, Outcome::Ok).count.increment(reads);
        self.add_read_bytes(bytes);
    }

    pub(super) fn add_read_bytes(&self, bytes: u64) {
        self.read_bytes.increment(bytes);
        if let Some(far_bytes) = &self.far_bytes {
            far_bytes.increment(bytes);
        }
    }

    pub(super) fn add_filled_bytes(&self, bytes: u64) {
        self.filled_bytes.increment(bytes);
    }

    fn of(&self, operation: Operation, outcome: Outcome) -> &Series {
        &self.series[operation as usize][outcome as usize]
    }
}

impl Series {
    fn new(tier: &str, operation: Operation, outcome: usize) -> Self {
        let possible = outcomes(operation)
            .iter()
            .find(|possible| **possible as usize == outcome);
        Self {
            count: possible.map_or(Counter::noop(), |&outcome| {
                REQUESTS.counter(&labels(tier, operation, outcome))
            }),
            seconds: OnceLock::new(),
        }
    }
}

fn labels(tier: &str, operation: Operation, outcome: Outcome) -> [(&'static str, &str); 3] {
    [
        (TIER, tier),
        (OPERATION, operation.name()),
        (OUTCOME, outcome.name()),
    ]
}

/// What can come of an operation.
const fn outcomes(operation: Operation) -> &'static [Outcome] {
    use Outcome::{Corrupt, Hit, Invalid, Miss, Ok, Unavailable};
    match operation {
        Operation::Open | Operation::Create => &[Hit, Miss, Unavailable, Corrupt, Invalid],
        _ => &[Ok, Unavailable, Corrupt, Invalid],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_found_at_their_number() {
        for (number, operation) in OPERATIONS.into_iter().enumerate() {
            assert_eq!(operation as usize, number);
        }
    }
}

//! What the metrics tell of a cache, beside what they tell of each of its sources.

use metrics::{Counter, Gauge, Histogram};

use super::fill::FillError;
use crate::metrics::{
    ASKED_BYTES, FILL_SECONDS, FILLS, FILLS_UNDER_WAY, Metric, OPERATION, OUTCOME, Outcome, READS, RETRIES,
    Reads, TIER, UnderWay, WAITING_READERS, WRITE_BACK_QUEUE, WRITE_BACKS,
};
use crate::runtime::Instant;
use crate::{Error, Result};

/// The metrics of a cache as a whole.
#[derive(Debug)]
pub(super) struct Meters {
    waiting_readers: Gauge,
    reads: Counter,
    asked_bytes: Counter,
}

impl Meters {
    pub(super) fn new() -> Self {
        Self {
            waiting_readers: WAITING_READERS.gauge(&[]),
            reads: READS.counter(&[]),
            asked_bytes: ASKED_BYTES.counter(&[]),
        }
    }

    /// Waits on behalf of a reader.
    pub(super) async fn wait<T>(&self, until: impl Future<Output = T>) -> T {
        let _waiting = UnderWay::new(&self.waiting_readers);
        until.await
    }

    pub(super) fn served(&self, Reads { reads, bytes }: Reads) {
        if (reads, bytes) == (0, 0) {
            return;
        }
        self.reads.increment(reads);
        self.asked_bytes.increment(bytes);
    }
}

/// Fills that failed by the fault of the source they came from, whichever tier they were to fill: an operator has to look at the source.
#[derive(Debug)]
pub(super) struct FailedFills([Counter; Outcome::COUNT]);

impl FailedFills {
    pub(super) fn new(source: &str) -> Self {
        use Outcome::{Corrupt, Invalid, Unavailable};
        Self(counters(FILLS, source, &[Unavailable, Corrupt, Invalid]))
    }

    fn count(&self, error: &Error) {
        self.0[Outcome::from(error) as usize].increment(1);
    }
}

fn counters(metric: Metric, tier: &str, outcomes: &[Outcome]) -> [Counter; Outcome::COUNT] {
    let mut counters = [const { Counter::noop() }; Outcome::COUNT];
    for &outcome in outcomes {
        counters[outcome as usize] = metric.counter(&[(TIER, tier), (OUTCOME, outcome.name())]);
    }
    counters
}

/// The metrics of a tier that a cache fills.
#[derive(Debug)]
pub(super) struct FillMeters {
    fills: [Counter; Outcome::COUNT],
    seconds: Histogram,
    under_way: Gauge,
    write_backs: [Counter; Outcome::COUNT],
    queue: Gauge,
    retries: Counter,
}

impl FillMeters {
    pub(super) fn new(tier: &str) -> Self {
        use Outcome::{Corrupt, Dropped, Hit, Invalid, Ok, Unavailable};
        let of_tier = [(TIER, tier)];
        Self {
            fills: counters(FILLS, tier, &[Ok, Unavailable, Corrupt, Invalid]),
            seconds: FILL_SECONDS.histogram(&of_tier),
            under_way: FILLS_UNDER_WAY.gauge(&of_tier),
            write_backs: counters(
                WRITE_BACKS,
                tier,
                &[Ok, Hit, Unavailable, Corrupt, Invalid, Dropped],
            ),
            queue: WRITE_BACK_QUEUE.gauge(&of_tier),
            retries: RETRIES.counter(&[(TIER, tier), (OPERATION, "write_back")]),
        }
    }

    /// Measures a fill from `source` while it runs, and counts it once it has ended: under the tier, or under whoever is to blame.
    pub(super) async fn fill<T>(
        &self,
        source: &FailedFills,
        fill: impl Future<Output = Result<T, FillError>>,
    ) -> Result<T, FillError> {
        let _under_way = UnderWay::new(&self.under_way);
        let start = Instant::now();
        let filled = fill.await;
        match &filled {
            Ok(_) => {
                self.seconds.record(start.elapsed().as_secs_f64());
                self.fills[Outcome::Ok as usize].increment(1);
            }
            Err(FillError::Tier(error)) => self.fills[Outcome::from(error) as usize].increment(1),
            Err(FillError::Source(error) | FillError::DiffId(error)) => source.count(error),
        }
        filled
    }

    /// A write-back is at work or waits its turn, for as long as what this returns is kept.
    pub(super) fn queued(&self) -> UnderWay {
        UnderWay::new(&self.queue)
    }

    /// A write-back has ended: whether the layer was written, or had been there.
    pub(super) fn written_back(&self, written: &Result<bool>) {
        let outcome = match written {
            Ok(true) => Outcome::Ok,
            Ok(false) => Outcome::Hit,
            Err(error) => Outcome::from(error),
        };
        self.write_backs[outcome as usize].increment(1);
    }

    /// A write-back found no place in the queue.
    pub(super) fn dropped(&self) {
        self.write_backs[Outcome::Dropped as usize].increment(1);
    }

    /// A write-back is tried again.
    pub(super) fn tried_again(&self) {
        self.retries.increment(1);
    }
}

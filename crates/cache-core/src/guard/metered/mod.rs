//! Counting what a source does, from the outside.

mod meter;
mod stats;

use std::sync::Arc;

use self::meter::Meter;
pub use self::stats::{SourceCounts, SourceStats};
use super::guarded::Guarded;
use super::policy::{Answer, Answered, Operation, Policy};
use crate::metrics::{Outcome, Tally};
use crate::runtime::Instant;
use crate::{LayerSource, Result, Role};

/// A source or tier that counts what goes through it, and is otherwise the same: in its [`SourceStats`], and in the
/// [metrics](crate::metrics), under its name.
///
/// How long it takes to open, create and commit is measured, and how long a read takes of a source that is not
/// [local](Role::Local). A warm read of one that is takes little longer than reading the clock twice, and is told to the
/// metrics in bundles of 64 or of 1 MiB, with the rest when its reader is dropped. What is cancelled is not counted.
///
/// Bytes that pass two of these on their way count for both, and as moved from afar twice if neither is local: of a cache
/// in a cache, measure the sources or the cache.
pub type Metered<S> = Guarded<S, Metering>;

/// The policy of a [`Metered`] source. A clone counts for the same source.
#[derive(Debug)]
pub struct Metering {
    stats: Arc<SourceStats>,
    meter: Arc<Meter>,
    /// Reads of one reader of a local source.
    tally: Tally,
}

impl<S: LayerSource> Metered<S> {
    /// Counts what goes through `inner`.
    pub fn new(inner: S) -> Self {
        let local = inner.role() == Role::Local;
        let metering = Metering {
            stats: Arc::default(),
            meter: Arc::new(Meter::new(inner.name(), local)),
            tally: Tally::default(),
        };
        Self::with_policy(inner, metering)
    }

    /// The counters, which stay valid when the source is gone.
    pub fn stats(&self) -> Arc<SourceStats> {
        Arc::clone(&self.policy().stats)
    }
}

impl Clone for Metering {
    fn clone(&self) -> Self {
        Self {
            stats: Arc::clone(&self.stats),
            meter: Arc::clone(&self.meter),
            tally: Tally::default(),
        }
    }
}

impl Drop for Metering {
    fn drop(&mut self) {
        self.meter.add_reads(self.tally.rest());
    }
}

impl Policy for Metering {
    async fn run<T: Answer>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let is_timed = match operation {
            Operation::Open | Operation::Create | Operation::Commit => true,
            Operation::Read => self.meter.is_far(),
            Operation::Stream | Operation::Write | Operation::Abort | Operation::Remove | Operation::List => {
                false
            }
        };
        let start = is_timed.then(Instant::now);
        let result = work.await;
        let took = start.map(|start| start.elapsed());
        if let Some(outcome) = self.outcome(operation, &result) {
            self.meter.count(operation, outcome);
            if let Some(took) = took {
                self.meter.time(operation, outcome, took);
            }
        }
        result
    }
}

impl Metering {
    /// Counts what is not counted by its outcome, and returns the outcome; `None` where that is counted in a bundle, or not
    /// at all.
    fn outcome<T: Answer>(&self, operation: Operation, result: &Result<T>) -> Option<Outcome> {
        let stats = &self.stats;
        let answered = match result {
            Ok(answer) => answer.answered(),
            Err(error) => {
                let outcome = Outcome::from(error);
                stats.failed(outcome);
                return Some(outcome);
            }
        };
        Some(match answered {
            Answered::Bytes(bytes) => {
                SourceStats::add(&stats.read_bytes, bytes);
                if operation == Operation::Read && !self.meter.is_far() {
                    if let Some(reads) = self.tally.add(bytes) {
                        self.meter.add_reads(reads);
                    }
                    return None;
                }
                self.meter.add_read_bytes(bytes);
                Outcome::Ok
            }
            Answered::Found => {
                SourceStats::add(&stats.hits, 1);
                Outcome::Hit
            }
            Answered::Absent => {
                SourceStats::add(&stats.misses, 1);
                Outcome::Miss
            }
            Answered::Claimed => Outcome::Miss,
            Answered::Committed(len) => {
                SourceStats::add(&stats.filled_layers, 1);
                SourceStats::add(&stats.filled_bytes, len);
                self.meter.add_filled_bytes(len);
                Outcome::Ok
            }
            Answered::Done => Outcome::Ok,
            Answered::End => return None,
        })
    }
}

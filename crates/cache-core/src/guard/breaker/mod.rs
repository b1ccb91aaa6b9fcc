//! Leaving a source alone that does not answer.

mod circuit;
mod gauges;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

pub(super) use self::circuit::was_refused;
pub use self::circuit::{BreakerConfig, BreakerState};
use self::circuit::{Change, Circuit, Outcome};
use self::gauges::BreakerGauges;
use super::guarded::Guarded;
use super::policy::{Answer, Operation, Policy};
use crate::{Error, ErrorKind, LayerSource, Result};

/// A source that is left alone for a while after it was [`ErrorKind::Unavailable`] several times in a row.
///
/// Then the breaker *opens*: everything is refused at once, as [`ErrorKind::Unavailable`], also by readers and
/// writers that are open. When the cool-down is over, the breaker is *half-open*: the next operation is a *probe*, and all
/// others are refused until it is done. If it is unavailable too, the breaker opens for longer, else it *closes*.
///
/// - Everything but `Unavailable` is an answer of the source, also `None` and every other error.
/// - A cancelled operation says nothing; a cancelled probe gives its place to the next operation. So does one that is
///   still not done after the longest cool-down.
/// - Operations that have begun before the breaker opened, and end later, do not prolong the cool-down.
pub type Breaker<S> = Guarded<S, BreakerHandle>;

/// The policy of a [`Breaker`]. Clones are the same breaker, and stay valid when the source is gone.
#[derive(Clone, Debug)]
pub struct BreakerHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tier: Box<str>,
    /// A std mutex, as it is held for a few instructions.
    circuit: Mutex<Circuit>,
    gauges: BreakerGauges,
}

impl<S: LayerSource> Breaker<S> {
    /// Leaves `inner` alone when it does not answer.
    pub fn new(inner: S, config: BreakerConfig) -> Self {
        let handle = BreakerHandle::new(inner.name(), config);
        Self::with_policy(inner, handle)
    }

    /// What it does with the next operation.
    pub fn state(&self) -> BreakerState {
        self.policy().state()
    }
}

impl BreakerHandle {
    /// A closed breaker of a source of this name.
    pub(in crate::guard) fn new(tier: &str, config: BreakerConfig) -> Self {
        Self(Arc::new(Shared {
            tier: tier.into(),
            circuit: Mutex::new(Circuit::new(config)),
            gauges: BreakerGauges::new(tier),
        }))
    }

    /// What it does with the next operation.
    pub fn state(&self) -> BreakerState {
        self.0.circuit().state()
    }
}

impl Policy for BreakerHandle {
    /// Does `work` unless the breaker is open, and takes note of what comes of it.
    ///
    /// Not to be used for a part of an operation that goes through this breaker already: when that is the probe, its part
    /// would be refused. A refusal says why the breaker has opened, and keeps the failure as its cause.
    async fn run<T: Answer>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let place = |error: Error| error.at(&self.0.tier, operation.name());
        let call = self.0.admit().map_err(place)?;
        let result = work.await.map_err(place);
        call.settle(&result);
        result
    }
}

impl Shared {
    /// The circuit is consistent whenever the lock is free, so a panic elsewhere does not spoil it.
    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what has changed when the lock is free: nobody knows what a subscriber or a recorder does.
    fn change<T>(&self, change: impl FnOnce(&mut Circuit) -> T) -> T {
        let (before, result, after) = {
            let mut circuit = self.circuit();
            let before = circuit.state();
            let result = change(&mut circuit);
            (before, result, circuit.state())
        };
        self.gauges.moved(before, after);
        result
    }

    fn admit(&self) -> Result<Call<'_>> {
        let period = self.change(|circuit| circuit.admit(Instant::now()))?;
        Ok(Call {
            breaker: self,
            period,
            settled: false,
        })
    }

    fn settle(&self, period: u64, outcome: Outcome<'_>) {
        match self.change(|circuit| circuit.settle(period, outcome, Instant::now())) {
            Some(Change::Opened { why, cool_down }) => {
                self.gauges.opened();
                let seconds = cool_down.as_secs_f64();
                tracing::warn!(tier = %self.tier, error = %why, "the breaker opens for {seconds:.1} s");
            }
            Some(Change::Closed { failed_probes }) => {
                tracing::info!(tier = %self.tier, failed_probes, "the breaker closes: the source answers again");
            }
            None => {}
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.circuit().state();
        self.gauges.gone(state);
    }
}

/// A call under way. Dropping it, as a cancellation or a panic does, frees the place of a probe.
struct Call<'a> {
    breaker: &'a Shared,
    period: u64,
    settled: bool,
}

impl Call<'_> {
    fn settle<T>(mut self, result: &Result<T>) {
        self.settled = true;
        let outcome = match result {
            Err(error) if error.kind() == ErrorKind::Unavailable => Outcome::Failed(error),
            _ => Outcome::Answered,
        };
        self.breaker.settle(self.period, outcome);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.breaker.settle(self.period, Outcome::Unknown);
        }
    }
}

//! What a breaker remembers, and how that changes: no clock, no lock.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::Error;
use crate::guard::backoff::{full_pause, pause};

/// When a breaker opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// It opens after so many failures in a row; 3 by default, at least 1.
    pub failures: u32,
    /// How long it stays open at first: a random time up to this one, at least its half; 10 s by default. It doubles with
    /// each probe that fails.
    pub cool_down: Duration,
    /// The longest that it stays open; 2 min by default.
    pub max_cool_down: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 3,
            cool_down: Duration::from_secs(10),
            max_cool_down: Duration::from_secs(120),
        }
    }
}

/// What a breaker does with the next operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// It passes.
    Closed,
    /// It is refused, or is the probe if the cool-down is over.
    Open,
    /// It is refused, as a probe is under way.
    HalfOpen,
}

/// The state of a breaker.
///
/// A *period* is a time between two changes of state. What came of a call says something about the period in which it
/// was admitted only: the last calls of an outage fail long after it was noticed, even after it is over.
#[derive(Debug)]
pub(super) struct Circuit {
    config: BreakerConfig,
    period: u64,
    /// Calls in a row that failed, while closed.
    failures: u32,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    /// The last failure.
    why: Error,
    /// Probes that failed.
    failed_probes: u32,
    probing: bool,
    /// From when on the next call is a probe.
    next_probe: Instant,
}

/// What came of a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome<'a> {
    /// The source said something, be it an error.
    Answered,
    Failed(&'a Error),
    /// The call was cancelled or has panicked.
    Unknown,
}

/// A change worth telling.
#[derive(Debug)]
pub(super) enum Change {
    Opened { why: Error, cool_down: Duration },
    Closed { failed_probes: u32 },
}

impl Circuit {
    pub(super) fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            period: 0,
            failures: 0,
            outage: None,
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        match &self.outage {
            None => BreakerState::Closed,
            Some(Outage { probing: false, .. }) => BreakerState::Open,
            Some(Outage { probing: true, .. }) => BreakerState::HalfOpen,
        }
    }

    /// Lets a call through and returns the period it belongs to, or refuses it.
    pub(super) fn admit(&mut self, now: Instant) -> Result<u64, Error> {
        let Some(outage) = &mut self.outage else {
            return Ok(self.period);
        };
        if now < outage.next_probe {
            return Err(outage.refusal(now));
        }
        outage.probing = true;
        // A probe that takes even longer is given up on: one that nobody polls would keep the place for ever.
        let BreakerConfig {
            cool_down,
            max_cool_down,
            ..
        } = self.config;
        outage.next_probe = now + full_pause(cool_down.max(max_cool_down), Duration::MAX, 0);
        self.period += 1;
        Ok(self.period)
    }

    /// Takes note of what came of a call that was admitted in `period`.
    pub(super) fn settle(&mut self, period: u64, outcome: Outcome<'_>, now: Instant) -> Option<Change> {
        if period != self.period {
            return None;
        }
        match (outcome, &mut self.outage) {
            (Outcome::Answered, None) => {
                self.failures = 0;
                None
            }
            (Outcome::Unknown, None) => None,
            (Outcome::Failed(why), None) => {
                self.failures += 1;
                (self.failures >= self.config.failures).then(|| self.open(why, 0, now))
            }
            (Outcome::Failed(why), Some(outage)) => {
                let failed_probes = outage.failed_probes.saturating_add(1);
                Some(self.open(why, failed_probes, now))
            }
            (Outcome::Answered, Some(outage)) => {
                let failed_probes = outage.failed_probes;
                self.period += 1;
                self.failures = 0;
                self.outage = None;
                Some(Change::Closed { failed_probes })
            }
            (Outcome::Unknown, Some(outage)) => {
                self.period += 1;
                outage.probing = false;
                outage.next_probe = now;
                None
            }
        }
    }

    fn open(&mut self, why: &Error, failed_probes: u32, now: Instant) -> Change {
        let cool_down = pause(self.config.cool_down, self.config.max_cool_down, failed_probes);
        self.period += 1;
        self.outage = Some(Outage {
            why: why.clone(),
            failed_probes,
            probing: false,
            next_probe: now + cool_down,
        });
        Change::Opened {
            why: why.clone(),
            cool_down,
        }
    }
}

impl Outage {
    fn refusal(&self, now: Instant) -> Error {
        let why = self.why.message();
        let message = if self.probing {
            format!("the breaker is open: {why}; a probe is under way")
        } else {
            let left = (self.next_probe - now).as_secs_f64().ceil();
            format!("the breaker is open: {why}; next probe in {left} s")
        };
        Error::unavailable(message).caused_by(Refused(self.why.clone()))
    }
}

/// Whether a breaker has refused the operation, so that repeating it soon is pointless.
pub(in crate::guard) fn was_refused(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<Refused>())
}

/// The failure that a breaker has opened for. A type of its own, by which a refusal is known.
#[derive(Debug)]
struct Refused(Error);

/// Prints the message only, so that cause chains can skip it.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.message())
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_an_earlier_period_counts_for_nothing() {
        let config = BreakerConfig {
            failures: 1,
            cool_down: Duration::from_secs(10),
            max_cool_down: Duration::from_secs(10),
        };
        let failure = Error::unavailable("the connection was cut").caused_by("reset");
        let (mut circuit, start) = (Circuit::new(config), Instant::now());
        let first = circuit.admit(start).unwrap();
        let opened = circuit.settle(first, Outcome::Failed(&failure), start);
        assert!(matches!(opened, Some(Change::Opened { .. })));

        let refused = circuit.admit(start).unwrap_err();
        let why = std::error::Error::source(&refused).unwrap();
        assert_eq!(why.source().unwrap().to_string(), "reset");

        // A probe that takes too long, and the one that takes its place.
        let slow = circuit.admit(start + Duration::from_secs(10)).unwrap();
        let now = start + Duration::from_secs(20);
        let next = circuit.admit(now).unwrap();
        assert!(circuit.settle(slow, Outcome::Answered, now).is_none());
        assert_eq!(circuit.state(), BreakerState::HalfOpen);
        // That one is cancelled, and a new one may begin at once.
        assert!(circuit.settle(next, Outcome::Unknown, now).is_none());
        for late in [slow, next] {
            assert!(circuit.settle(late, Outcome::Answered, now).is_none());
            assert_eq!(circuit.state(), BreakerState::Open);
        }
        let last = circuit.admit(now).unwrap();
        let closed = circuit.settle(last, Outcome::Answered, now);
        assert!(matches!(closed, Some(Change::Closed { failed_probes: 0 })));
        for late in [first, slow, next, last] {
            assert!(circuit.settle(late, Outcome::Failed(&failure), now).is_none());
            assert_eq!(circuit.state(), BreakerState::Closed);
        }
    }
}

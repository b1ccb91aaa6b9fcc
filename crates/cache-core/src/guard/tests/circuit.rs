//! What came of a call says something about the period alone in which it was admitted.

use super::super::circuit::{Change, Circuit, Outcome};
use super::*;

#[tokio::test]
async fn what_is_told_of_an_earlier_period_counts_for_nothing() {
    let config = BreakerConfig {
        failures: 1,
        cool_down: secs(10),
        max_cool_down: secs(10),
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
    let slow = circuit.admit(start + secs(10)).unwrap();
    let now = start + secs(20);
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

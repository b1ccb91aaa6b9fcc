//! Counting what is under way.

use metrics::Gauge;

/// Counts one thing for as long as it lives, however it ends. It adds and takes away, so that any number of caches can count with
/// one gauge, and none of them has to know of the others.
#[derive(Debug)]
pub(crate) struct UnderWay(Gauge);

impl UnderWay {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

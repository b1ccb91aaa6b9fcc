//! What a test's parts tell the metrics.

use std::collections::BTreeSet;

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, LocalRecorderGuard, Metadata, Recorder, SharedString, Unit,
};
use metrics_util::registry::{AtomicStorage, Registry};

/// A recorder for one test: it hears of the parts that are made by the test's own thread while it listens, whatever thread they count
/// on later.
#[derive(Debug)]
pub struct Recorded(Registry<Key, AtomicStorage>);

impl Default for Recorded {
    fn default() -> Self {
        Self(Registry::atomic())
    }
}

impl Recorded {
    /// Listens until the guard is dropped.
    pub fn listen(&self) -> LocalRecorderGuard<'_> {
        metrics::set_default_local_recorder(self)
    }

    /// The sum of the counters or gauges of this name that have all of these labels. Panics where there is none: a test that asks for a
    /// series which cannot be would see 0 for ever.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let counters = self
            .0
            .get_counter_handles()
            .into_iter()
            .map(|(key, counter)| (key, counter.load(std::sync::atomic::Ordering::SeqCst) as f64));
        let gauges = self.0.get_gauge_handles().into_iter().map(|(key, gauge)| {
            (
                key,
                f64::from_bits(gauge.load(std::sync::atomic::Ordering::SeqCst)),
            )
        });
        let values: Vec<_> = counters
            .chain(gauges)
            .filter(|(key, _)| is(key, name, labels))
            .map(|(_, value)| value)
            .collect();
        assert!(!values.is_empty(), "there is no {name} with {labels:?}");
        values.iter().sum()
    }

    /// The samples of all histograms of this name that have all of these labels, in no particular order.
    pub fn samples(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let histograms = self.0.get_histogram_handles();
        histograms
            .into_iter()
            .filter(|(key, _)| is(key, name, labels))
            .flat_map(|(_, histogram)| histogram.data())
            .collect()
    }

    /// The names of everything that is counted.
    pub fn names(&self) -> BTreeSet<String> {
        let counters = self.0.get_counter_handles().into_keys();
        let gauges = self.0.get_gauge_handles().into_keys();
        let histograms = self.0.get_histogram_handles().into_keys();
        let all = counters.chain(gauges).chain(histograms);
        all.map(|key| key.name().to_owned()).collect()
    }
}

fn is(key: &Key, name: &str, labels: &[(&str, &str)]) -> bool {
    let has = |&(label, value): &(&str, &str)| {
        key.labels()
            .any(|found| (found.key(), found.value()) == (label, value))
    };
    key.name() == name && labels.iter().all(has)
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.0
            .get_or_create_counter(&key.to_retained(), |counter| counter.clone().into())
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.0
            .get_or_create_gauge(&key.to_retained(), |gauge| gauge.clone().into())
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.0
            .get_or_create_histogram(&key.to_retained(), |histogram| histogram.clone().into())
    }
}

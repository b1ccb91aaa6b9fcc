//! Every metric of the project, in one table, and what the parts of all crates count with.
//!
//! They go through the facade `metrics`, as events go through `tracing`: nothing is counted unless the application installs a
//! recorder. A handle is looked up when the part that counts with it is made, and not at each event, so a recorder has to be
//! there before the parts are: before a cache, its tiers and its origins are composed.
//!
//! No label has values from outside the configuration: [`TIER`] is a name of a tier or other source, [`OPERATION`], [`OUTCOME`] and [`STATE`] are
//! words of this project. What each metric means to an operator is in `docs/operations.md`, which the tests hold against this table.

mod outcome;
mod tally;
mod under_way;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata};

pub(crate) use self::outcome::Outcome;
pub(crate) use self::tally::{Reads, Tally};
pub(crate) use self::under_way::UnderWay;

/// The label with the name of a source.
pub const TIER: &str = "tier";
/// The label with what a source was asked to do, by [`Operation::name`](crate::guard::Operation::name), or `write_back`.
pub const OPERATION: &str = "operation";
/// The label with what came of it: `hit`, `miss`, `ok`, `unavailable`, `corrupt`, `invalid`, or `dropped`.
pub const OUTCOME: &str = "outcome";
/// The label with the state of a breaker: `closed`, `open`, or `half_open`.
pub const STATE: &str = "state";

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts samples by their size.
    Histogram,
}

/// One metric. Units are the base units of Prometheus, bytes and seconds, and stand in the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// As it is exposed.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// What it means, in a sentence.
    pub help: &'static str,
}

macro_rules! table {
    ($($id:ident = $kind:ident $name:literal, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Metric = Metric { name: $name, kind: MetricKind::$kind, help: $help };
        )*

        /// All of them.
        pub const METRICS: &[Metric] = &[$($id),*];
    };
}

table! {
    INFLATES = Counter "layercache_inflates_total",
        "Blobs that began to be inflated.";
    INFLATED_BYTES = Counter "layercache_inflated_bytes_total",
        "Bytes of layers that came out of inflating.";
    INFLATE_SECONDS = Histogram "layercache_inflate_seconds",
        "Time a decoder was at work on one blob, without waiting for input or output.";

    REQUESTS = Counter "layercache_requests_total",
        "What a source was asked to do, and what came of it. Cancelled requests do not count.";
    REQUEST_SECONDS = Histogram "layercache_request_seconds",
        "How long a request to open, create or commit took, or to read from a source that is not local.";
    READ_BYTES = Counter "layercache_read_bytes_total",
        "Bytes of layers read from a source, by readers, fills and write-backs.";
    FILLED_BYTES = Counter "layercache_filled_bytes_total",
        "Bytes of the layers committed to a tier.";

    READS = Counter "layercache_reads_total",
        "Reads that readers of the cache were served.";
    ASKED_BYTES = Counter "layercache_asked_bytes_total",
        "Bytes that readers of the cache were served.";
    FAR_BYTES = Counter "layercache_far_bytes_total",
        "Bytes of layers moved here from sources that are not local, for readers and fills.";
    WAITING_READERS = Gauge "layercache_waiting_readers",
        "Readers that wait for a layer to be found or filled.";

    FILLS = Counter "layercache_fills_total",
        "Fills of a tier from a farther source, and what came of them. A failed one counts for whoever is to blame, the tier or the source.";
    FILL_SECONDS = Histogram "layercache_fill_seconds",
        "How long a fill of a tier took that ended well, from the first byte to the commit.";
    FILLS_UNDER_WAY = Gauge "layercache_fills_under_way",
        "Fills of a tier that are under way.";

    WRITE_BACKS = Counter "layercache_write_backs_total",
        "Write-backs to a tier, and what came of them: dropped where the queue was full.";
    WRITE_BACK_QUEUE = Gauge "layercache_write_back_queue",
        "Write-backs to a tier that are at work or wait their turn.";

    RETRIES = Counter "layercache_retries_total",
        "Operations of a source that were tried again.";
    BREAKER_STATE = Gauge "layercache_breaker_state",
        "1 for the state that the breaker of a tier is in, 0 for the others. That a tier has recovered is noticed by the next request to it.";
    BREAKER_OPENINGS = Counter "layercache_breaker_openings_total",
        "How often the breaker of a tier opened, failed probes included.";

    ORIGIN_REQUESTS = Counter "layercache_origin_requests_total",
        "Requests that an origin sent, those for tokens and repeated ones included.";
    ORIGIN_BYTES = Counter "layercache_origin_bytes_total",
        "Bytes of manifests, configs and compressed blobs that an origin received.";

    EVICTIONS = Counter "layercache_evictions_total",
        "Layers that a disk tier evicted to keep its limits.";
    EVICTED_BYTES = Counter "layercache_evicted_bytes_total",
        "Bytes of the layers evicted, with what was kept next to them.";
    DISK_LAYERS = Gauge "layercache_disk_layers",
        "Layers in the directory of a disk tier. NaN when it cannot be read.";
    DISK_BYTES = Gauge "layercache_disk_bytes",
        "Bytes of the layers in the directory of a disk tier, with what is kept next to them. NaN when it cannot be read.";
    DISK_FREE_BYTES = Gauge "layercache_disk_free_bytes",
        "Bytes of the file system of a disk tier that may still be written. NaN when it cannot be read.";
    DISK_MAX_BYTES = Gauge "layercache_disk_max_bytes",
        "The limit on the bytes of a disk tier. +Inf without one.";
    DISK_MIN_FREE_BYTES = Gauge "layercache_disk_min_free_bytes",
        "How many bytes of its file system a disk tier leaves free.";
}

/// Tells the installed recorder what each metric means. Once, after it was installed.
pub fn describe() {
    for Metric { name, kind, help } in METRICS {
        match kind {
            MetricKind::Counter => metrics::describe_counter!(*name, *help),
            MetricKind::Gauge => metrics::describe_gauge!(*name, *help),
            MetricKind::Histogram => metrics::describe_histogram!(*name, *help),
        }
    }
}

/// Where the facade thinks that all of this comes from.
const METADATA: Metadata<'static> = Metadata::new("layercache", Level::INFO, None);

impl Metric {
    /// A handle of the series with these labels, which is there from now on, with the value 0.
    pub fn counter(&self, labels: &[(&'static str, &str)]) -> Counter {
        debug_assert_eq!(self.kind, MetricKind::Counter, "{}", self.name);
        let key = self.key(labels);
        metrics::with_recorder(|recorder| recorder.register_counter(&key, &METADATA))
    }

    /// The same of a gauge.
    pub fn gauge(&self, labels: &[(&'static str, &str)]) -> Gauge {
        debug_assert_eq!(self.kind, MetricKind::Gauge, "{}", self.name);
        let key = self.key(labels);
        metrics::with_recorder(|recorder| recorder.register_gauge(&key, &METADATA))
    }

    /// The same of a histogram.
    pub fn histogram(&self, labels: &[(&'static str, &str)]) -> Histogram {
        debug_assert_eq!(self.kind, MetricKind::Histogram, "{}", self.name);
        let key = self.key(labels);
        metrics::with_recorder(|recorder| recorder.register_histogram(&key, &METADATA))
    }

    fn key(&self, labels: &[(&'static str, &str)]) -> Key {
        let label = |&(name, value): &(&'static str, &str)| Label::new(name, value.to_owned());
        Key::from_parts(self.name, labels.iter().map(label).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_those_of_prometheus_and_no_two_are_the_same() {
        let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for Metric { name, kind, help } in METRICS {
            assert!(name.starts_with("layercache_"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == MetricKind::Counter, "{name}");
            assert_eq!(
                name.ends_with("_seconds"),
                *kind == MetricKind::Histogram,
                "{name}"
            );
            assert!(help.ends_with('.'), "{name}: {help}");
        }
    }
}

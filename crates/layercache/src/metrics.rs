//! What is counted, as Prometheus text.
//!
//! ```no_run
//! # use layercache::{Config, Kinds, Stack};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let metrics = layercache::metrics::install()?;
//! let stack = Stack::assemble(&Config::default(), &Kinds::builtin())?;
//! // At each scrape:
//! stack.sample_metrics().await;
//! let body = metrics.render();
//! # Ok(())
//! # }
//! ```
//!
//! An application that has a recorder of the facade `metrics` already needs none of this: it installs its own before the first stack is
//! assembled, calls [`core::metrics::describe`](crate::core::metrics::describe), and lets its histograms have buckets like [`BUCKETS`]. What
//! each metric means, and what is healthy, is in `docs/operations.md`.

use std::io;
use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// The upper bounds of the histograms' buckets, in seconds: two a decade, from a warm open to a fill of a large layer.
pub const BUCKETS: [f64; 17] = [
    1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0,
];

/// What [`Metrics::render`] returns, as HTTP names it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How often samples are put into their buckets. Until then each takes 16 bytes.
const UPKEEP: Duration = Duration::from_secs(5);

/// The metrics of this process; clones are the same.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

/// Why metrics are not counted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// There is a recorder. The facade has one for the life of a process.
    #[error(
        "the process has a recorder of metrics already: install one, once, before the first stack is assembled"
    )]
    Installed,
    /// The recorder cannot be made.
    #[error("metrics cannot be recorded")]
    Build(#[source] BuildError),
    /// There is no thread for the upkeep.
    #[error("metrics cannot be recorded: no thread can be started for their upkeep")]
    Thread(#[source] io::Error),
}

/// From now on metrics are counted, by the recorder of the process, until that ends. A thread of its own puts samples into their buckets
/// each 5 seconds, so that memory is bounded also where nobody reads them.
///
/// To be called before [`Stack::assemble`](crate::Stack::assemble): a part looks its counters up when it is made, so that counting
/// costs an addition and no look-up. What was made before is not counted.
///
/// # Errors
/// [`Installed`](InstallError::Installed) when there is a recorder, by an earlier call or of the application itself.
pub fn install() -> Result<Metrics, InstallError> {
    let builder = PrometheusBuilder::new()
        .set_buckets(&BUCKETS)
        .map_err(InstallError::Build)?;
    let handle = builder.install_recorder().map_err(|error| match error {
        BuildError::FailedToSetGlobalRecorder(_) => InstallError::Installed,
        error => InstallError::Build(error),
    })?;
    cache_core::metrics::describe();
    let kept = handle.clone();
    let upkeep = move || {
        loop {
            thread::sleep(UPKEEP);
            kept.run_upkeep();
        }
    };
    // It ends with the process, as the recorder does.
    thread::Builder::new()
        .name("metrics".into())
        .spawn(upkeep)
        .map_err(InstallError::Thread)?;
    Ok(Metrics(handle))
}

impl Metrics {
    /// All metrics now, in the text format of Prometheus. Takes some milliseconds of a processor. What only a look tells is as old as
    /// the last [`Stack::sample_metrics`](crate::Stack::sample_metrics).
    pub fn render(&self) -> String {
        self.0.render()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cache_core::{Digest, LayerDescriptor, LayerSource, MemoryTier};

    use super::*;
    use crate::{Config, Kinds, Part, Stack};

    fn stack() -> Stack {
        let mut kinds = Kinds::builtin();
        kinds.register("shelf", |tier, _| {
            let shelf = MemoryTier::new(tier.name(), 1 << 20);
            Ok(Part::tier(Arc::new(shelf)).with_sample(|| async { metrics_are_sampled() }))
        });
        let config = Config::parse("[[tier]]\nkind = \"shelf\"").unwrap();
        Stack::assemble(&config, &kinds).unwrap()
    }

    /// Stands for a look at a directory.
    fn metrics_are_sampled() {
        let shelf = [(cache_core::metrics::TIER, "shelf")];
        cache_core::metrics::DISK_BYTES.gauge(&shelf).set(7.0);
    }

    /// The one test of this process that installs.
    #[tokio::test]
    async fn what_is_assembled_after_install_is_counted_and_a_second_recorder_is_refused() {
        let layer = LayerDescriptor::new(Digest::sha256_of(b"blob"));
        let before = stack();
        let metrics = install().unwrap();
        assert!(matches!(install(), Err(InstallError::Installed)));

        let stack = stack();
        for cache in [before.cache(), stack.cache(), stack.cache()] {
            // What the origins of files say of a layer of none is of no interest.
            let _ = cache.open(&layer).await;
        }
        let text = metrics.render();
        let misses = r#"layercache_requests_total{tier="shelf",operation="open",outcome="miss"} 2"#;
        for line in [misses, "# TYPE layercache_request_seconds histogram"] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        let help = cache_core::metrics::REQUESTS.help;
        assert!(
            text.contains(&format!("# HELP layercache_requests_total {help}")),
            "{text}"
        );
        assert!(!text.contains("layercache_disk_bytes{"), "{text}");
        stack.sample_metrics().await;
        assert!(
            metrics
                .render()
                .contains(r#"layercache_disk_bytes{tier="shelf"} 7"#)
        );
    }
}

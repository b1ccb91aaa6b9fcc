//! The gauges of a disk tier: its limits, and how much it takes.

use std::sync::Arc;
use std::time::Duration;

use cache_core::metrics::{
    DISK_BYTES, DISK_FREE_BYTES, DISK_LAYERS, DISK_MAX_BYTES, DISK_MIN_FREE_BYTES, TIER,
};
use cache_core::{Error, Result};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::DiskConfig;
use crate::failure::blocking;
use crate::space::usage::DiskUsage;

/// How long a look at the directory is waited for. A scrape asks for it, and has more to tell than
/// this.
const LONGEST: Duration = Duration::from_secs(1);

/// The gauges of one tier.
#[derive(Debug)]
pub(crate) struct Gauges {
    tier: Arc<str>,
    /// One look is under way at a time.
    looking: Arc<Semaphore>,
}

impl Gauges {
    /// Tells the limits.
    pub(crate) fn new(config: &DiskConfig) -> Self {
        let of_tier = [(TIER, config.name.as_str())];
        let max_bytes = config.max_bytes.map_or(f64::INFINITY, |bytes| bytes as f64);
        DISK_MAX_BYTES.gauge(&of_tier).set(max_bytes);
        DISK_MIN_FREE_BYTES
            .gauge(&of_tier)
            .set(config.min_free_bytes as f64);
        Self {
            tier: config.name.as_str().into(),
            looking: Arc::new(Semaphore::new(1)),
        }
    }

    /// Has `look` measure the directory, off the runtime's threads, and tells the outcome: NaN
    /// where it fails or takes longer than a second. A look keeps its turn until it ends, so that a
    /// disk that hangs keeps one thread.
    ///
    /// # Errors
    /// The error of `look`, or one that says that it takes too long.
    pub(crate) async fn sample(
        &self,
        look: impl FnOnce() -> Result<DiskUsage> + Send + 'static,
    ) -> Result<()> {
        let looking = async {
            let turn = Arc::clone(&self.looking).acquire_owned().await;
            let looked = blocking(move || {
                let _turn = turn;
                look()
            });
            looked
                .await
                .flatten()
                .map_err(|error| error.at(&self.tier, "usage"))
        };
        let usage = timeout(LONGEST, looking).await.unwrap_or_else(|_| {
            let seconds = LONGEST.as_secs();
            let error =
                format!("the disk does not say within {seconds} s: is it overloaded, or does it hang?");
            Err(Error::unavailable(error).at(&self.tier, "usage"))
        });
        self.tell(usage.as_ref().ok());
        usage.map(drop)
    }

    /// Tells an outcome; `None` where the look failed. The gauges are not there before: a 0 without
    /// a look would say that the disk is full.
    fn tell(&self, usage: Option<&DiskUsage>) {
        let of_tier = [(TIER, &*self.tier)];
        let value = |of: fn(&DiskUsage) -> u64| usage.map_or(f64::NAN, |usage| of(usage) as f64);
        DISK_LAYERS.gauge(&of_tier).set(value(|usage| usage.layers));
        DISK_BYTES.gauge(&of_tier).set(value(|usage| usage.bytes));
        DISK_FREE_BYTES
            .gauge(&of_tier)
            .set(value(|usage| usage.free_bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc;

    use cache_testkit::Recorded;
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;

    fn usage() -> DiskUsage {
        DiskUsage {
            layers: 0,
            bytes: 0,
            quarantined_layers: 0,
            quarantined_bytes: 0,
            free_bytes: 1,
            max_bytes: None,
            min_free_bytes: 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_not_waited_for_long_and_keeps_one_thread() {
        let recorded = Recorded::default();
        let _listening = recorded.listen();
        let gauges = Gauges::new(&DiskConfig::new("/clip"));
        let free_bytes = || recorded.value("layercache_disk_free_bytes", &[("tier", "disk")]);

        let (hangs, has_begun) = mpsc::channel();
        let (wake, sleeping) = mpsc::channel::<()>();
        let mut hung = pin!(gauges.sample(move || {
            hangs.send(()).unwrap();
            sleeping.recv().unwrap();
            Ok(usage())
        }));
        assert!(hung.as_mut().now_or_never().is_none());
        has_begun.recv().unwrap();
        advance(LONGEST).await;
        let error = hung.await.unwrap_err();
        assert!(error.message().contains("hang"), "{error}");
        assert!(free_bytes().is_nan());

        // It hangs still: the next call begins nothing.
        assert_eq!(gauges.looking.available_permits(), 0);
        let mut next = pin!(gauges.sample(|| panic!("this is a second thread")));
        assert!(next.as_mut().now_or_never().is_none());
        advance(LONGEST).await;
        let error = next.await.unwrap_err();
        assert!(error.message().contains("hang"), "{error}");

        wake.send(()).unwrap();
        gauges.sample(|| Ok(usage())).await.unwrap();
        assert!(free_bytes() > 0.0);
    }
}

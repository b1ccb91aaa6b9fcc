//! What the metrics tell of a disk tier.

use std::sync::Arc;
use std::time::Duration;

use cache_core::metrics::{
    DISK_BYTES, DISK_FREE_BYTES, DISK_LAYERS, DISK_MAX_BYTES, DISK_MIN_FREE_BYTES, EVICTED_BYTES, EVICTIONS,
    TIER,
};
use cache_core::{Error, Result};
use metrics::Counter;
use tokio::time::timeout;

use crate::DiskConfig;
use crate::dir::directory::Handle;
use crate::space::usage::DiskUsage;
use crate::tier::{DiskTier, Store};

/// How long a look at the directory is waited for. Whoever asks is a scrape, which has more to tell than this.
const LONGEST: Duration = Duration::from_secs(1);

/// The metrics of one tier.
#[derive(Debug)]
pub(crate) struct Meters {
    evictions: Counter,
    evicted_bytes: Counter,
}

impl Meters {
    pub(crate) fn new(config: &DiskConfig) -> Self {
        let of_tier = [(TIER, config.name.as_str())];
        let max_bytes = config.max_bytes.map_or(f64::INFINITY, |bytes| bytes as f64);
        DISK_MAX_BYTES.gauge(&of_tier).set(max_bytes);
        DISK_MIN_FREE_BYTES
            .gauge(&of_tier)
            .set(config.min_free_bytes as f64);
        Self {
            evictions: EVICTIONS.counter(&of_tier),
            evicted_bytes: EVICTED_BYTES.counter(&of_tier),
        }
    }

    pub(crate) fn evicted(&self, bytes: u64) {
        self.evictions.increment(1);
        self.evicted_bytes.increment(bytes);
    }
}

impl DiskTier {
    /// Looks how much the cache takes, as [`usage`](Self::usage) does, and tells the metrics: NaN where that is not known within a second, as
    /// of a disk that hangs.
    ///
    /// One look is under way at a time. One that has begun runs to its end, though nobody waits for it any more, and the next
    /// waits its turn: a disk that hangs keeps one thread, however often this is called. Dropping the future tells nothing.
    ///
    /// # Errors
    /// When the directory cannot be read, or not in time.
    pub async fn sample_metrics(&self) -> Result<()> {
        self.sample(Store::usage).await
    }

    async fn sample(
        &self,
        look: impl FnOnce(&Store, &Handle) -> Result<DiskUsage> + Send + 'static,
    ) -> Result<()> {
        let looking = async {
            let turn = Arc::clone(&self.store.looking).acquire_owned().await;
            self.off_the_runtime_or("usage", Store::no_usage, move |store, dir| {
                let _turn = turn;
                look(store, dir)
            })
            .await
        };
        let usage = timeout(LONGEST, looking).await.unwrap_or_else(|_| {
            let seconds = LONGEST.as_secs();
            let error =
                format!("the disk does not say within {seconds} s: is it overloaded, or does it hang?");
            Err(Error::unavailable(error).at(&self.store.name, "usage"))
        });
        self.store.tell_usage(usage.as_ref().ok());
        usage.map(drop)
    }
}

impl Store {
    /// Tells what a look at the directory has found; `None` where it failed. The gauges are not there before: a 0 that nobody has looked
    /// for would say that the disk is full.
    pub(crate) fn tell_usage(&self, usage: Option<&DiskUsage>) {
        let of_tier = [(TIER, &*self.name)];
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

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_not_waited_for_long_and_keeps_one_thread() {
        let recorded = Recorded::default();
        let _listening = recorded.listen();
        let dir = tempfile::tempdir().unwrap();
        let tier = DiskTier::builder(dir.path().join("clip")).open().unwrap();
        let free_bytes = || recorded.value("layercache_disk_free_bytes", &[("tier", "disk")]);

        let (hangs, has_begun) = mpsc::channel();
        let (wake, sleeping) = mpsc::channel::<()>();
        let mut hung = pin!(tier.sample(move |store, dir| {
            hangs.send(()).unwrap();
            sleeping.recv().unwrap();
            store.usage(dir)
        }));
        assert!(hung.as_mut().now_or_never().is_none());
        has_begun.recv().unwrap();
        advance(LONGEST).await;
        let error = hung.await.unwrap_err();
        assert!(error.message().contains("hang"), "{error}");
        assert!(free_bytes().is_nan());

        // It hangs still: whoever asks next begins nothing.
        assert_eq!(tier.store.looking.available_permits(), 0);
        let mut next = pin!(tier.sample(|_, _| panic!("this is a second thread")));
        assert!(next.as_mut().now_or_never().is_none());
        advance(LONGEST).await;
        let error = next.await.unwrap_err();
        assert!(error.message().contains("hang"), "{error}");

        wake.send(()).unwrap();
        tier.sample_metrics().await.unwrap();
        assert!(free_bytes() > 0.0);
    }
}

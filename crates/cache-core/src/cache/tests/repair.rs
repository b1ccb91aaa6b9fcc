//! A copy that fails is looked at again before it is given up, and nothing good is purged.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::flaky::*;
use super::*;
use crate::{Capabilities, Digest, LayerStat};

#[tokio::test]
async fn a_late_failure_of_one_handle_does_not_purge_what_was_repaired() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let tier = Flaky::gated(1, Error::corrupt("bad chunk"), 0, 0);
    tier.seed(&layer, &bytes).await;
    let origin = Arc::new(Counting::new(&bytes));
    let n = origin.inflates.clone();
    let cache = LayerCache::builder()
        .tier(tier.clone())
        .source(origin)
        .build()
        .unwrap();
    let r = cache.get(&layer).await.unwrap();
    let (a, b) = (r.clone(), r.clone());
    let a = tokio::spawn(async move { a.read_bytes(0, 10).await });
    let b = tokio::spawn(async move { b.read_bytes(0, 10).await });
    while tier.reads.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    tier.gate.add_permits(1);
    while !a.is_finished() && tier.inner.used_bytes() > 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    tier.gate.add_permits(1);
    a.await.unwrap().unwrap();
    b.await.unwrap().unwrap();
    cache.get(&layer).await.unwrap();
    assert_eq!(
        (tier.removes.load(Ordering::SeqCst), n.load(Ordering::SeqCst)),
        (0, 0),
        "(removes, inflates)"
    );
}

#[tokio::test]
async fn fifty_handles_of_a_copy_that_is_gone_purge_nothing() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let tier = Flaky::new(50, Error::corrupt("bad chunk"), 0);
    tier.seed(&layer, &bytes).await;
    let origin = Arc::new(Counting::new(&bytes));
    let n = origin.inflates.clone();
    let cache = LayerCache::builder()
        .tier(tier.clone())
        .source(origin)
        .build()
        .unwrap();
    let mut handles = vec![];
    for _ in 0..50 {
        handles.push(cache.get(&layer).await.unwrap());
    }
    for h in handles {
        assert_eq!(h.read_bytes(5, 10).await.unwrap(), bytes[5..15]);
    }
    assert_eq!(n.load(Ordering::SeqCst), 0, "inflates");
}

#[tokio::test]
async fn a_handle_whose_tier_lost_the_layer_fills_it_again() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let origin = Arc::new(Counting::new(&bytes));
    let n = origin.inflates.clone();
    let tier = Flaky::new(1, Error::unavailable("chunk 3 was evicted"), 5_000);
    tier.seed(&layer, &bytes).await;
    let cache = LayerCache::builder()
        .tier(tier.clone())
        .source(origin)
        .build()
        .unwrap();
    let r = cache.get(&layer).await.unwrap();
    tier.inner.remove(&layer.digest).await.unwrap();
    for i in 0..50 {
        r.read_bytes(5_000 + i, 10).await.unwrap();
    }
    assert!(
        n.load(Ordering::SeqCst) <= 1,
        "inflates: {}; tier has {}",
        n.load(Ordering::SeqCst),
        tier.inner.used_bytes()
    );
}

#[tokio::test]
async fn what_a_tier_said_before_a_repair_purges_nothing() {
    #[derive(Debug)]
    struct Bad(MemoryTier, AtomicBool, AtomicUsize);
    #[async_trait]
    impl LayerSource for Bad {
        fn name(&self) -> &str {
            "bad"
        }
        fn capabilities(&self) -> Capabilities {
            self.0.capabilities()
        }
        async fn open(&self, l: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
            if self.1.load(Ordering::SeqCst) {
                return Err(Error::corrupt("bad index"));
            }
            self.0.open(l).await
        }
    }
    #[async_trait]
    impl Tier for Bad {
        async fn create(&self, l: &LayerDescriptor) -> Result<Claim> {
            self.0.create(l).await
        }
        async fn remove(&self, d: &Digest) -> Result<bool> {
            self.1.store(false, Ordering::SeqCst);
            self.2.fetch_add(1, Ordering::SeqCst);
            self.0.remove(d).await
        }
        fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
            self.0.list()
        }
    }
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let bad = Arc::new(Bad(MemoryTier::new("bad", 1 << 30), true.into(), 0.into()));
    let origin = Script::origin("origin", &bytes, []).gated(0);
    let cache = LayerCache::builder()
        .tier(bad.clone())
        .source(origin.clone())
        .max_concurrent_fills(1)
        .build()
        .unwrap();
    let with_size = layer.clone().with_size(8);
    let (a, b, ()) = tokio::join!(cache.get(&layer), cache.get(&with_size), origin.release_late());
    a.unwrap();
    b.unwrap();
    assert_eq!(
        (bad.2.load(Ordering::SeqCst), origin.streams()),
        (1, 1),
        "(removes, streams)"
    );
}

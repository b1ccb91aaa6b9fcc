//! Which tiers are filled, and what the tier in memory and the meter do.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::*;
use cache_core::{Capabilities, Digest, LayerStat, Role};

#[tokio::test]
async fn further_tiers_are_filled_in_the_background_and_flush_waits_for_them() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let origin = Script::origin("origin", &bytes, []);
    let [one, two, three] = ["one", "two", "three"].map(memory);
    let slow = Faulty::shared(MemoryTier::new("slow", 1 << 30));
    let cache = LayerCache::builder()
        .tier(slow.clone())
        .tier(one.clone())
        .tier(two.clone())
        .source(origin.clone())
        .tier(three.clone())
        .build()
        .unwrap();
    assert_eq!(all(cache.get(&layer).await.unwrap()).await.unwrap(), bytes);
    cache.flush().await;
    assert_eq!(
        (slow.inner.used_bytes(), one.used_bytes(), two.used_bytes()),
        (10_000, 10_000, 10_000)
    );
    assert_eq!(three.used_bytes(), 0, "behind the hit");
    assert_eq!(origin.streams(), 1);
}

#[tokio::test]
async fn what_is_near_enough_is_served_at_once_and_copied_to_the_front() {
    let bytes = layer_bytes(10_000);
    let front = Faulty::shared(MemoryTier::new("front", 1 << 30));
    let far = Script::far("far", &bytes, []).gated(0);
    let cache = LayerCache::builder()
        .tier(front.clone())
        .source(far.clone())
        .build()
        .unwrap();
    let reader = cache.get(&descriptor(&bytes)).await.unwrap();
    assert_eq!(reader.read_bytes(5_000, 10).await.unwrap(), bytes[5_000..5_010]);
    far.gate.add_permits(1000);
    cache.close().await;
    assert_eq!(front.inner.used_bytes(), 10_000);
}

#[tokio::test]
async fn metered_counts_what_went_through() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let near = Arc::new(Metered::new(MemoryTier::new("near", 1 << 30)));
    let liar = Arc::new(Metered::new(Script::origin(
        "liar",
        &bytes,
        [Act::CutAt(10, Error::corrupt("bad"))],
    )));
    let origin = Arc::new(Metered::new(Script::origin(
        "origin",
        &bytes,
        [Act::Serve, Act::Fail(cut())],
    )));
    let cache = LayerCache::builder()
        .tier(near.clone())
        .source(liar.clone())
        .source(origin.clone())
        .build()
        .unwrap();
    cache.get(&layer).await.unwrap().read_bytes(0, 100).await.unwrap();
    cache.get(&layer).await.unwrap();
    let counts = near.stats().counts();
    // Asked once more after the liar had failed, when it was claimed again.
    assert_eq!((counts.hits, counts.misses, counts.read_bytes), (1, 2, 100));
    assert_eq!((counts.filled_layers, counts.filled_bytes), (1, 10_000));
    let counts = liar.stats().counts();
    assert_eq!((counts.hits, counts.corrupt, counts.read_bytes), (1, 1, 10));
    assert_eq!(origin.stats().counts().read_bytes, 10_000);
    assert!(origin.open(&layer).await.is_err());
    assert_eq!(origin.stats().counts().unavailable, 1);
}

#[tokio::test]
async fn a_memory_tier_stays_within_its_capacity_and_evicts_the_oldest() {
    let tier = MemoryTier::new("memory", 2_500);
    let bytes = layer_bytes(1_000);
    let layers = [1, 2, 3].map(|i| {
        cache_core::LayerDescriptor::new(cache_core::Digest::sha256_of(&[i]))
            .with_diff_id(cache_core::Digest::sha256_of(&bytes))
    });
    for layer in &layers[..2] {
        let origin = Script::origin("origin", &bytes, []);
        let cache = LayerCache::builder()
            .tier(Arc::new(tier.clone()))
            .source(origin)
            .build()
            .unwrap();
        cache.get(layer).await.unwrap();
    }
    let held = tier.get(&layers[1]).await.unwrap();
    tier.get(&layers[0]).await.unwrap();
    let origin = Script::origin("origin", &bytes, []);
    let cache = LayerCache::builder()
        .tier(Arc::new(tier.clone()))
        .source(origin)
        .build()
        .unwrap();
    cache.get(&layers[2]).await.unwrap();
    assert!(tier.open(&layers[1]).await.unwrap().is_none());
    assert!(tier.open(&layers[0]).await.unwrap().is_some());
    assert_eq!(tier.used_bytes(), 2_000);
    assert_eq!(all(held).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_memory_tier_does_not_hold_on_to_the_buffers_it_is_filled_from() {
    let tier = MemoryTier::new("memory", 1 << 20);
    let large = Bytes::from(vec![7; 256 * 1024]);
    let Claim::Write(mut writer) = tier.create(&descriptor(&large)).await.unwrap() else {
        panic!("it is there already")
    };
    writer.write(large.slice(..4)).await.unwrap();
    assert!(large.is_unique());
}

/// A tier that is filled by somebody else between the look and the claim.
#[derive(Debug)]
struct FilledMeanwhile {
    inner: Arc<MemoryTier>,
    looked: AtomicBool,
}

#[async_trait]
impl LayerSource for FilledMeanwhile {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn role(&self) -> Role {
        self.inner.role()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        match self.looked.swap(true, Ordering::SeqCst) {
            true => self.inner.open(layer).await,
            false => Ok(None),
        }
    }
}

#[async_trait]
impl Tier for FilledMeanwhile {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        self.inner.create(layer).await
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        self.inner.remove(digest).await
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        self.inner.list()
    }
}

#[tokio::test]
async fn whoever_has_filled_a_tier_fills_those_behind_it_as_well() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let [before, filled, behind] = ["before", "filled", "behind"].map(memory);
    put(&*filled, &layer, &bytes, &bytes).await;
    let origin = Script::origin("origin", &bytes, []);
    let cache = LayerCache::builder()
        .tier(Faulty::shared(before.clone()))
        .tier(Arc::new(FilledMeanwhile {
            inner: filled,
            looked: false.into(),
        }))
        .tier(Faulty::shared(behind.clone()))
        .source(origin.clone())
        .build()
        .unwrap();
    assert_eq!(all(cache.get(&layer).await.unwrap()).await.unwrap(), bytes);
    cache.flush().await;
    assert_eq!(
        (listed(&*before).await, listed(&*behind).await, origin.opens()),
        (1, 0, 0)
    );
}

//! Readers that ask for one layer on different terms, or at the wrong time.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::flaky::*;
use super::*;
use cache_core::{Capabilities, Digest, LayerStat, Role};

#[tokio::test]
async fn what_other_repositories_lack_is_not_absent() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let origin = Counting {
        only: Some("mine"),
        delay: true,
        ..Counting::new(&bytes)
    };
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .source(Arc::new(origin))
        .build()
        .unwrap();
    let mut others = vec![];
    for i in 0..30 {
        let (c, l) = (cache.clone(), layer.clone().with_repository(format!("other{i}")));
        others.push(tokio::spawn(async move { c.open(&l).await.map(|o| o.is_some()) }));
    }
    tokio::task::yield_now().await;
    let mine = cache.open(&layer.clone().with_repository("mine")).await;
    for o in others {
        let _ = o.await;
    }
    assert!(
        matches!(mine, Ok(Some(_))),
        "the layer is in `mine`, but: {:?}",
        mine.map(|m| m.is_some())
    );
}

#[tokio::test]
async fn no_fill_begins_once_the_cache_is_closed() {
    #[derive(Debug)]
    struct Slow(MemoryTier, tokio::sync::Semaphore);
    #[async_trait]
    impl LayerSource for Slow {
        fn name(&self) -> &str {
            "slow"
        }
        fn role(&self) -> Role {
            self.0.role()
        }
        fn capabilities(&self) -> Capabilities {
            self.0.capabilities()
        }
        async fn open(&self, l: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
            self.1.acquire().await.unwrap().forget();
            self.0.open(l).await
        }
    }
    #[async_trait]
    impl Tier for Slow {
        async fn create(&self, l: &LayerDescriptor) -> Result<Claim> {
            self.0.create(l).await
        }
        async fn remove(&self, d: &Digest) -> Result<bool> {
            self.0.remove(d).await
        }
        fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
            self.0.list()
        }
    }
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let origin = Arc::new(Counting::new(&bytes));
    let n = origin.inflates.clone();
    let slow = Arc::new(Slow(
        MemoryTier::new("slow", 1 << 30),
        tokio::sync::Semaphore::new(0),
    ));
    let cache = LayerCache::builder()
        .tier(slow.clone())
        .source(origin)
        .build()
        .unwrap();
    let c = cache.clone();
    let h = tokio::spawn(async move { c.get(&layer).await });
    tokio::task::yield_now().await;
    cache.close().await;
    assert_eq!(n.load(Ordering::SeqCst), 0);
    slow.1.add_permits(100);
    let _ = h.await.unwrap();
    assert_eq!(
        n.load(Ordering::SeqCst),
        0,
        "a fill began after close() had returned"
    );
}

#[tokio::test]
async fn two_descriptors_of_one_layer_cost_one_stream() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let origin = Script::origin("origin", &bytes, []).gated(0);
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .source(origin.clone())
        .build()
        .unwrap();
    let with_size = layer.clone().with_size(8);
    let (a, b, ()) = tokio::join!(cache.get(&layer), cache.get(&with_size), origin.release_late());
    a.unwrap();
    b.unwrap();
    assert_eq!(origin.streams(), 1);
}

#[tokio::test]
async fn a_false_claim_is_invalid_although_the_layer_came_meanwhile() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let hostile = layer.clone().with_diff_id(Digest::sha256_of(b"forged"));
    let origin = Script::origin("origin", &bytes, []).gated(0);
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .source(origin.clone())
        .max_concurrent_fills(1)
        .build()
        .unwrap();
    let (a, b, ()) = tokio::join!(cache.get(&layer), cache.get(&hostile), origin.release_late());
    a.unwrap();
    assert_eq!(
        b.map(|_| ()).map_err(|e| e.kind()),
        Err(ErrorKind::Invalid),
        "origin opens {}",
        origin.opens()
    );
}

#[test]
fn to_another_cache_it_is_a_source_with_its_own_name_that_can_do_what_its_sources_can() {
    let bytes = layer_bytes(10);
    let cache = |ranges: bool, early: bool| {
        let far: Arc<dyn LayerSource> = match ranges {
            true => memory("far"),
            false => Script::origin("far", &bytes, []),
        };
        let builder = LayerCache::builder().name("inner").source(far);
        builder.early_reads(early).build().unwrap()
    };
    assert_eq!(cache(true, false).name(), "inner");
    let verified = Capabilities::NONE.with_verified();
    assert_eq!(cache(true, false).capabilities(), verified);
    assert_eq!(cache(true, true).capabilities(), Capabilities::NONE);
    assert_eq!(cache(false, false).capabilities(), Capabilities::NONE);
    assert_eq!(
        (cache(true, false).role(), cache(false, false).role()),
        (Role::Local, Role::Origin)
    );
}

#[test]
fn a_cache_has_1_to_64_sources() {
    let of = |sources| {
        let sources = (0..sources).map(|_| memory("near"));
        sources
            .fold(LayerCache::builder(), |builder, source| builder.source(source))
            .build()
    };
    assert!(of(1).is_ok() && of(64).is_ok());
    for sources in [0, 65] {
        let error = of(sources).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(error.message().contains(&format!("not of {sources}")), "{error}");
    }
}

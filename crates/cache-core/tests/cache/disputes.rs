//! An image and a shared store that contradict each other: neither may purge what the other is right about.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::*;
use cache_core::{Copying, Digest, LayerStat, Role, SourceOptions};

/// Says that what it has is not what the image claims, until it is removed.
#[derive(Debug)]
struct Disputing {
    inner: MemoryTier,
    disputes: AtomicBool,
}

#[async_trait]
impl LayerSource for Disputing {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn role(&self) -> Role {
        Role::Shared
    }

    fn capabilities(&self) -> cache_core::Capabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.read_while_write = false;
        capabilities
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        if self.disputes.load(Ordering::Relaxed) {
            return Err(Error::disputed("the index says otherwise").at(self.name(), "open"));
        }
        self.inner.open(layer).await
    }
}

#[async_trait]
impl Tier for Disputing {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        self.open(layer).await?;
        self.inner.create(layer).await
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        self.disputes.store(false, Ordering::Relaxed);
        self.inner.remove(digest).await
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        self.inner.list()
    }
}

fn shared() -> Arc<Disputing> {
    Arc::new(Disputing {
        inner: MemoryTier::new("shared", 1 << 30),
        disputes: AtomicBool::new(true),
    })
}

#[tokio::test]
async fn a_store_that_is_refuted_is_rid_of_the_layer_and_filled_afresh() {
    let bytes = layer_bytes(20_000);
    let shared = shared();
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .tier(shared.clone())
        .source(Script::origin("origin", &bytes, []))
        .build()
        .unwrap();
    assert_eq!(
        all(cache.get(&descriptor(&bytes)).await.unwrap()).await.unwrap(),
        bytes
    );
    cache.close().await;
    assert!(!shared.disputes.load(Ordering::Relaxed));
    assert_eq!(listed(&*shared).await, 1);
}

/// What takes no copies was filled all the same, once it had been rid of what was wrong.
#[tokio::test]
async fn a_refuted_store_that_takes_no_layers_is_rid_of_it_and_left_empty() {
    let bytes = layer_bytes(20_000);
    let shared = shared();
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .tier_with(
            shared.clone(),
            SourceOptions::default().with_write_back(Copying::Off),
        )
        .source(Script::origin("origin", &bytes, []))
        .build()
        .unwrap();
    let arrival = cache.bring(&descriptor(&bytes)).await.unwrap();
    assert!(arrival.copied_to().is_empty());
    cache.close().await;
    assert!(!shared.disputes.load(Ordering::Relaxed));
    assert_eq!(listed(&*shared).await, 0);
}

#[tokio::test]
async fn an_image_that_lies_fails_and_removes_nothing() {
    let bytes = layer_bytes(20_000);
    let liar = descriptor(b"something else");
    let shared = shared();
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .tier(shared.clone())
        .source(Script::origin("origin", &bytes, []))
        .build()
        .unwrap();
    let error = cache.get(&liar).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disputed);
    assert!(
        error.message().contains("origin: the layer has diff ID"),
        "{error}"
    );
    cache.close().await;
    assert!(shared.disputes.load(Ordering::Relaxed));
}

/// The near tier knows better than the image, and the far one does not: what it serves while that is found out is no longer served then.
#[tokio::test]
async fn an_image_that_is_refuted_is_served_nowhere_any_more() {
    #[derive(Debug)]
    struct Refuting(MemoryTier);

    #[async_trait]
    impl LayerSource for Refuting {
        fn name(&self) -> &str {
            "refuting"
        }

        fn role(&self) -> Role {
            self.0.role()
        }

        fn capabilities(&self) -> cache_core::Capabilities {
            self.0.capabilities()
        }

        async fn open(&self, _: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
            Ok(None)
        }
    }

    #[async_trait]
    impl Tier for Refuting {
        async fn create(&self, _: &LayerDescriptor) -> Result<Claim> {
            tokio::task::yield_now().await;
            Err(Error::invalid("the verified layer has another diff ID"))
        }

        async fn remove(&self, digest: &Digest) -> Result<bool> {
            self.0.remove(digest).await
        }

        fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
            self.0.list()
        }
    }

    let bytes = layer_bytes(20_000);
    let near = Arc::new(Refuting(MemoryTier::new("near", 1 << 20)));
    let options = cache_core::SourceOptions::default().with_fill(cache_core::Copying::Background);
    let far = Script::far("far", &bytes, []);
    let cache = LayerCache::builder()
        .tier(near)
        .source_with(far, options)
        .build()
        .unwrap();
    let layer = descriptor(&bytes);
    let reader = cache.get(&layer).await.unwrap();
    cache.settled(&layer.digest).await;
    assert_eq!(
        reader.read_bytes(0, 10).await.unwrap_err().kind(),
        ErrorKind::Invalid
    );
}

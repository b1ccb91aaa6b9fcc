//! A copy that fails is looked at again before it is given up, and nothing good is purged.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tokio::sync::Semaphore;

use super::flaky::*;
use super::*;
use cache_core::{Capabilities, Digest, LayerStat, Role};

#[tokio::test]
async fn a_late_failure_of_one_handle_does_not_purge_what_was_repaired() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let tier = Flaky::gated(1, Error::corrupt("bad chunk"), 0, 0);
    tier.seed(&layer, &bytes).await;
    let origin = Arc::new(Counting::new(&bytes));
    let n = origin.inflates.clone();
    let metered = Arc::new(Metered::new(tier.clone()));
    let opened = metered.stats();
    let cache = LayerCache::builder()
        .tier(metered)
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
    assert_eq!(
        opened.counts().hits,
        2,
        "the second failure is of a reader that is gone"
    );
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

/// A tier that finds its layer damaged until it is rid of it.
#[derive(Debug)]
struct Bad {
    inner: MemoryTier,
    damaged: AtomicBool,
    removes: AtomicUsize,
    /// Whether the next answer is on its way for as long as the gate is closed.
    hold: AtomicBool,
    gate: Semaphore,
}

impl Bad {
    fn new(hold: bool) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryTier::new("bad", 1 << 30),
            damaged: true.into(),
            removes: 0.into(),
            hold: hold.into(),
            gate: Semaphore::new(0),
        })
    }
}

#[async_trait]
impl LayerSource for Bad {
    fn name(&self) -> &str {
        "bad"
    }

    fn role(&self) -> Role {
        self.inner.role()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let answer = match self.damaged.load(Ordering::SeqCst) {
            true => Err(Error::corrupt("bad index")),
            false => self.inner.open(layer).await,
        };
        if self.hold.swap(false, Ordering::SeqCst) {
            self.gate.acquire().await.unwrap().forget();
        }
        answer
    }
}

#[async_trait]
impl Tier for Bad {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        self.inner.create(layer).await
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        self.damaged.store(false, Ordering::SeqCst);
        self.removes.fetch_add(1, Ordering::SeqCst);
        self.inner.remove(digest).await
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        self.inner.list()
    }
}

#[tokio::test]
async fn what_a_tier_said_before_a_repair_purges_nothing() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let bad = Bad::new(false);
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
        (bad.removes.load(Ordering::SeqCst), origin.streams()),
        (1, 1),
        "(removes, streams)"
    );
}

#[tokio::test]
async fn an_answer_that_was_on_its_way_during_a_repair_purges_nothing() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let bad = Bad::new(true);
    let origin = Script::origin("origin", &bytes, []);
    let cache = LayerCache::builder()
        .tier(bad.clone())
        .source(origin.clone())
        .build()
        .unwrap();
    let mut late = Box::pin(cache.get(&layer));
    assert!((&mut late).now_or_never().is_none());
    assert_eq!(all(cache.get(&layer).await.unwrap()).await.unwrap(), bytes);
    bad.gate.add_permits(1);
    assert_eq!(all(late.await.unwrap()).await.unwrap(), bytes);
    assert_eq!(
        (bad.removes.load(Ordering::SeqCst), origin.streams()),
        (1, 1),
        "(removes, streams)"
    );
}

#[tokio::test]
async fn a_copy_that_is_wrong_twice_is_replaced_on_behalf_of_its_reader() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let tier = Flaky::new(2, Error::corrupt("a bad chunk"), 0);
    tier.seed(&layer, &bytes).await;
    let origin = Script::origin("origin", &bytes, []);
    let cache = LayerCache::builder()
        .tier(tier.clone())
        .source(origin.clone())
        .build()
        .unwrap();
    let reader = cache.get(&layer).await.unwrap();
    assert_eq!(reader.read_bytes(0, 1000).await.unwrap(), bytes[..1000]);
    assert_eq!((tier.removes.load(Ordering::SeqCst), origin.streams()), (1, 1));
    assert_eq!(tier.inner.used_bytes(), 10_000);
}

/// A tier that keeps what it says, and counts how often it is to be rid of it.
#[derive(Debug)]
struct Removable {
    inner: Arc<Script>,
    removes: AtomicUsize,
}

#[async_trait]
impl LayerSource for Removable {
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
        self.inner.open(layer).await
    }
}

#[async_trait]
impl Tier for Removable {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        Err(Error::unavailable("the tier takes nothing").of_layer(&layer.digest))
    }

    async fn remove(&self, _: &Digest) -> Result<bool> {
        self.removes.fetch_add(1, Ordering::SeqCst);
        Ok(true)
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        futures_util::stream::empty().boxed()
    }
}

/// What cannot be reached now is not known to be wrong.
#[tokio::test]
async fn a_copy_that_breaks_off_removes_nothing_and_one_that_is_wrong_does() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    for (error, removes) in [(cut(), 0), (Error::corrupt("bad chunk"), 1)] {
        let far = Arc::new(Removable {
            inner: Script::far("far", &bytes, [Act::CutAt(5_000, error)]),
            removes: 0.into(),
        });
        let cache = LayerCache::builder()
            .tier(memory("near"))
            .tier(far.clone())
            .source(Script::origin("origin", &bytes, []))
            .build()
            .unwrap();
        assert_eq!(all(cache.get(&layer).await.unwrap()).await.unwrap(), bytes);
        cache.flush().await;
        assert_eq!(far.removes.load(Ordering::SeqCst), removes);
    }
}

//! What a cache and its sources tell the metrics.

use cache_testkit::Recorded;

use tokio::sync::Semaphore;

use super::*;
use cache_core::Digest;
use cache_core::guard::{Guarded, Operation, Policy, ReadOnly};

const NEAR: (&str, &str) = ("tier", "near");
const ORIGIN: (&str, &str) = ("tier", "origin");

fn requests(recorded: &Recorded, tier: (&str, &str), operation: &str, outcome: &str) -> f64 {
    let labels = [tier, ("operation", operation), ("outcome", outcome)];
    recorded.value("layercache_requests_total", &labels)
}

/// A metered tier in memory in front of a metered origin.
fn composed(origin: Arc<Script>) -> LayerCache {
    LayerCache::builder()
        .tier(Arc::new(Metered::new(MemoryTier::new("near", 1 << 30))))
        .source(Arc::new(Metered::new(origin)))
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_cold_layer_is_a_miss_and_a_fill_and_then_it_is_a_hit() {
    let recorded = Recorded::default();
    let _listening = recorded.listen();
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let cache = composed(Script::origin("origin", &bytes, []));

    let reader = cache.get(&layer).await.unwrap();
    assert_eq!(reader.read_bytes(5, 100).await.unwrap().len(), 100);
    drop(reader);
    let request = |tier, operation, outcome| requests(&recorded, tier, operation, outcome);
    assert_eq!(request(NEAR, "open", "miss"), 1.0);
    assert_eq!(request(NEAR, "open", "hit"), 0.0);
    assert_eq!(request(ORIGIN, "open", "hit"), 1.0);
    assert_eq!(request(NEAR, "create", "miss"), 1.0);
    assert_eq!(request(NEAR, "commit", "ok"), 1.0);
    assert_eq!(request(NEAR, "read", "ok"), 1.0);
    assert_eq!(request(ORIGIN, "stream", "ok"), 10.0);
    assert_eq!(
        recorded.value("layercache_fills_total", &[NEAR, ("outcome", "ok")]),
        1.0
    );
    assert_eq!(recorded.samples("layercache_fill_seconds", &[NEAR]).len(), 1);
    assert_eq!(recorded.value("layercache_filled_bytes_total", &[NEAR]), 10_000.0);
    assert_eq!(recorded.value("layercache_read_bytes_total", &[ORIGIN]), 10_000.0);
    assert_eq!(
        recorded.value("layercache_far_bytes_total", &[]),
        10_000.0,
        "the tier is local"
    );
    assert_eq!(recorded.value("layercache_read_bytes_total", &[NEAR]), 100.0);
    assert_eq!(recorded.value("layercache_asked_bytes_total", &[]), 100.0);
    assert_eq!(recorded.value("layercache_reads_total", &[]), 1.0);

    cache.get(&layer).await.unwrap();
    assert_eq!(request(NEAR, "open", "hit"), 1.0);
    assert_eq!(request(ORIGIN, "open", "hit"), 1.0);
    assert_eq!(recorded.value("layercache_far_bytes_total", &[]), 10_000.0);
}

#[tokio::test]
async fn reads_of_a_local_tier_are_told_in_bundles_and_with_the_rest_at_the_end() {
    let recorded = Recorded::default();
    let _listening = recorded.listen();
    let bytes = layer_bytes(10_000);
    let cache = composed(Script::origin("origin", &bytes, []));
    let reader = cache.get(&descriptor(&bytes)).await.unwrap();
    let told = || {
        let reads = recorded.value("layercache_reads_total", &[]);
        assert_eq!(requests(&recorded, NEAR, "read", "ok"), reads);
        let asked = recorded.value("layercache_asked_bytes_total", &[]);
        assert_eq!(recorded.value("layercache_read_bytes_total", &[NEAR]), asked);
        (reads, asked)
    };
    for _ in 0..63 {
        reader.read_bytes(0, 10).await.unwrap();
    }
    assert_eq!(told(), (0.0, 0.0));
    reader.read_bytes(0, 10).await.unwrap();
    assert_eq!(told(), (64.0, 640.0));
    reader.read_bytes(0, 7).await.unwrap();
    drop(reader);
    assert_eq!(told(), (65.0, 647.0));
    let took = |operation| recorded.samples("layercache_request_seconds", &[NEAR, ("operation", operation)]);
    assert_eq!((took("open").len(), took("read").len()), (1, 0));
}

#[tokio::test]
async fn what_waits_and_what_is_filled_is_counted_while_it_lasts() {
    let recorded = Recorded::default();
    let _listening = recorded.listen();
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let origin = Script::origin("origin", &bytes, []).gated(3);
    let cache = composed(origin.clone());
    let now = || {
        (
            recorded.value("layercache_waiting_readers", &[]),
            recorded.value("layercache_fills_under_way", &[NEAR]),
        )
    };
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(cache.get(&layer))).collect();
    for reader in &mut waiting {
        assert!(reader.now_or_never().is_none());
    }
    while cache.fill_progress(&layer.digest) != Some(3 * PIECE as u64) {
        tokio::task::yield_now().await;
    }
    assert_eq!(now(), (3.0, 1.0));
    // A reader that goes away waits no more; the fill goes on.
    waiting.pop();
    assert_eq!(now(), (2.0, 1.0));
    origin.gate.add_permits(1000);
    for reader in join_all(waiting).await {
        reader.unwrap();
    }
    cache.flush().await;
    assert_eq!(now(), (0.0, 0.0));
}

#[tokio::test]
async fn a_fill_that_fails_or_panics_is_over() {
    let recorded = Recorded::default();
    let _listening = recorded.listen();
    let bytes = layer_bytes(10_000);
    let acts = [Act::Panic, Act::CutAt(2000, Error::corrupt("bad"))];
    let cache = composed(Script::origin("origin", &bytes, acts));
    let layer = descriptor(&bytes);
    for _ in 0..2 {
        cache.get(&layer).await.unwrap_err();
    }
    cache.flush().await;
    assert_eq!(recorded.value("layercache_fills_total", &[]), 1.0);
    assert_eq!(recorded.value("layercache_waiting_readers", &[]), 0.0);
    assert_eq!(recorded.value("layercache_fills_under_way", &[]), 0.0);
    assert_eq!(requests(&recorded, ORIGIN, "stream", "corrupt"), 1.0);
    assert!(recorded.samples("layercache_fill_seconds", &[NEAR]).is_empty());
}

#[tokio::test]
async fn a_fill_that_fails_counts_for_whoever_is_to_blame() {
    let recorded = Recorded::default();
    let _listening = recorded.listen();
    let bytes = layer_bytes(10_000);
    let fills = || {
        let of = |tier, outcome| recorded.value("layercache_fills_total", &[tier, ("outcome", outcome)]);
        [
            of(NEAR, "ok"),
            of(NEAR, "unavailable"),
            of(NEAR, "corrupt"),
            of(ORIGIN, "unavailable"),
            of(ORIGIN, "corrupt"),
        ]
    };
    let open = async |near: Arc<dyn Tier>, acts: &[Act]| {
        let cache = LayerCache::builder()
            .tier(near)
            .source(Script::origin("origin", &bytes, acts.iter().cloned()))
            .build()
            .unwrap();
        let opened = cache.get(&descriptor(&bytes)).await;
        opened.map(drop)
    };
    let full = || {
        Arc::new(Faulty {
            inner: MemoryTier::new("near", 1 << 30),
            full_at: 5000,
            read_while_write: true,
        })
    };

    open(memory("near"), &[Act::CutAt(2000, cut())])
        .await
        .unwrap_err();
    assert_eq!(fills(), [0.0, 0.0, 0.0, 1.0, 0.0]);
    // Other bytes than the image claims.
    open(memory("near"), &[Act::Flip(5_000)]).await.unwrap_err();
    assert_eq!(fills(), [0.0, 0.0, 0.0, 1.0, 1.0]);
    open(full(), &[]).await.unwrap();
    assert_eq!(fills(), [0.0, 1.0, 0.0, 1.0, 1.0]);
    open(memory("near"), &[]).await.unwrap();
    assert_eq!(fills(), [1.0, 1.0, 0.0, 1.0, 1.0]);
}

#[tokio::test]
async fn what_is_kept_on_this_machine_is_not_far_whatever_it_is_wrapped_in() {
    let recorded = Recorded::default();
    let _listening = recorded.listen();
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let inner = composed(Script::origin("origin", &bytes, []));
    let front = memory("front");
    let outer = LayerCache::builder()
        .tier(front.clone())
        .source(Arc::new(Metered::new(inner)))
        .build()
        .unwrap();
    assert_eq!(all(outer.get(&layer).await.unwrap()).await.unwrap(), bytes);
    outer.close().await;
    assert_eq!(
        recorded.value("layercache_read_bytes_total", &[("tier", "cache")]),
        10_000.0
    );
    assert_eq!(recorded.value("layercache_far_bytes_total", &[]), 10_000.0);

    let frozen = Metered::new(ReadOnly::new(front));
    let reader = frozen.get(&layer).await.unwrap();
    assert_eq!(all(reader).await.unwrap(), bytes);
    assert_eq!(
        recorded.value("layercache_read_bytes_total", &[("tier", "front")]),
        10_000.0
    );
    assert_eq!(recorded.value("layercache_far_bytes_total", &[]), 10_000.0);
}

/// A tier that is not local, for this many bytes of a layer.
fn shared(name: &str, full_at: u64) -> Arc<Faulty<MemoryTier>> {
    Arc::new(Faulty {
        inner: MemoryTier::new(name, 1 << 30),
        full_at,
        read_while_write: false,
    })
}

/// Lets no write begin before the gate is opened.
#[derive(Clone, Debug)]
struct Gate(Arc<Semaphore>);

impl Gate {
    fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    fn open(self) {
        self.0.add_permits(2);
    }

    fn in_front_of(&self, tier: Arc<dyn Tier>) -> Arc<dyn Tier> {
        Arc::new(Guarded::with_policy(tier, self.clone()))
    }
}

impl Policy for Gate {
    async fn run<T: Send>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let _passing = match operation {
            Operation::Create => Some(self.0.acquire().await.unwrap()),
            _ => None,
        };
        work.await
    }
}

fn write_backs(recorded: &Recorded, tier: &str, outcome: &str) -> f64 {
    let labels = [("tier", tier), ("outcome", outcome)];
    recorded.value("layercache_write_backs_total", &labels)
}

#[tokio::test(start_paused = true)]
async fn write_backs_are_counted_with_what_came_of_them() {
    let recorded = Recorded::default();
    let _listening = recorded.listen();
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let gate = Gate::closed();
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .tier(gate.in_front_of(shared("far", u64::MAX)))
        .tier(gate.in_front_of(shared("full", 5000)))
        .source(Script::origin("origin", &bytes, []))
        .build()
        .unwrap();
    let counts = || {
        [
            ("far", "ok"),
            ("far", "hit"),
            ("full", "ok"),
            ("full", "unavailable"),
        ]
        .map(|(tier, outcome)| write_backs(&recorded, tier, outcome))
    };
    cache.get(&layer).await.unwrap();
    assert_eq!(recorded.value("layercache_write_back_queue", &[]), 2.0);
    gate.open();
    let begin = tokio::time::Instant::now();
    cache.flush().await;
    // Three pauses, each twice as long as the one before.
    let paused = begin.elapsed().as_millis();
    assert!((1400..1450).contains(&paused), "{paused}");
    assert_eq!(recorded.value("layercache_write_back_queue", &[]), 0.0);
    assert_eq!(counts(), [1.0, 0.0, 0.0, 1.0]);
    let retries = [("tier", "full"), ("operation", "write_back")];
    assert_eq!(recorded.value("layercache_retries_total", &retries), 3.0);
    cache.publish(&layer).await.unwrap();
    assert_eq!(counts(), [1.0, 1.0, 0.0, 2.0]);
    assert_eq!(recorded.value("layercache_write_back_queue", &[]), 0.0);
}

#[tokio::test]
async fn a_write_back_that_finds_the_queue_full_is_counted_as_dropped() {
    let recorded = Recorded::default();
    let _listening = recorded.listen();
    let bytes = layer_bytes(100);
    let gate = Gate::closed();
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .tier(gate.in_front_of(shared("far", u64::MAX)))
        .source(Script::origin("origin", &bytes, []))
        .build()
        .unwrap();
    for blob in 0..258u32 {
        let digest = Digest::sha256_of(&blob.to_le_bytes());
        let layer = LayerDescriptor::new(digest).with_diff_id(Digest::sha256_of(&bytes));
        cache.get(&layer).await.unwrap();
    }
    assert_eq!(recorded.value("layercache_write_back_queue", &[]), 256.0);
    assert_eq!(write_backs(&recorded, "far", "dropped"), 2.0);
    gate.open();
    cache.flush().await;
    assert_eq!(write_backs(&recorded, "far", "ok"), 256.0);
    assert_eq!(recorded.value("layercache_write_back_queue", &[]), 0.0);
}

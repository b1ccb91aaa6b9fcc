//! A far source that serves ranges is read at once, while the tier in front of it is being filled.

use super::*;
use cache_core::cache::LayerCacheBuilder;
use cache_core::guard::{Guarded, Operation, Policy};
use cache_core::{Copying, SourceOptions};

fn with_fill(fill: Copying) -> SourceOptions {
    SourceOptions::default().with_fill(fill)
}

/// A cache of this far source behind a tier in memory.
fn at_once(near: &Arc<MemoryTier>, far: Arc<dyn LayerSource>) -> LayerCacheBuilder {
    LayerCache::builder()
        .tier(near.clone())
        .source_with(far, with_fill(Copying::Background))
}

/// Lets every task that can go on do so.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_first_read_does_not_wait_for_the_copy() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let far = Script::far("far", &bytes, []).gated(0);
    let near = memory("near");
    let cache = at_once(&near, far.clone()).build().unwrap();

    let reader = cache.get(&layer).await.unwrap();
    assert_eq!(
        reader.read_bytes(15_000, 100).await.unwrap(),
        bytes[15_000..15_100]
    );
    assert_eq!(listed(&*near).await, 0);

    far.gate.add_permits(1000);
    cache.settled(&layer.digest).await;
    assert_eq!(listed(&*near).await, 1);
    let opens = far.opens();
    assert_eq!(all(reader).await.unwrap(), bytes);
    assert_eq!((far.opens(), far.streams()), (opens, 1));
    cache.close().await;
}

#[tokio::test]
async fn what_is_copied_already_is_read_from_the_copy() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let far = Script::far("far", &bytes, []).gated(5);
    let metered = Metered::new(far.clone());
    let stats = metered.stats();
    let cache = at_once(&memory("near"), Arc::new(metered)).build().unwrap();

    let reader = cache.get(&layer).await.unwrap();
    assert_eq!(reader.read_bytes(0, 10).await.unwrap(), bytes[..10]);
    settle().await;
    let copied = 5 * PIECE as u64;
    assert_eq!(stats.counts().read_bytes, 10 + copied);
    assert_eq!(
        reader.read_bytes(4_000, 1_000).await.unwrap(),
        bytes[4_000..5_000]
    );
    assert_eq!(stats.counts().read_bytes, 10 + copied);
    assert_eq!(
        reader.read_bytes(4_500, 1_000).await.unwrap(),
        bytes[4_500..5_500]
    );
    assert_eq!(stats.counts().read_bytes, 10 + copied + 1_000);
    far.gate.add_permits(1000);
    cache.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_first_read_has_the_way_to_itself_but_not_for_long() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let far = Script::far("far", &bytes, []);
    let cache = at_once(&memory("near"), far.clone()).build().unwrap();
    let _read_later = cache.get(&layer).await.unwrap();
    settle().await;
    assert_eq!(far.streams(), 0);
    let start = tokio::time::Instant::now();
    cache.flush().await;
    assert_eq!(far.streams(), 1);
    assert!(start.elapsed() <= std::time::Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_copy_wants_it_to_begin() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let far = Script::far("far", &bytes, []);
    let cache = at_once(&memory("near"), far.clone()).build().unwrap();
    let _not_read = cache.get(&layer).await.unwrap();
    let start = tokio::time::Instant::now();
    cache.settled(&layer.digest).await;
    assert_eq!((far.streams(), start.elapsed()), (1, std::time::Duration::ZERO));
}

#[tokio::test]
async fn inline_reads_wait_for_the_copy() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let far = Script::far("far", &bytes, []).gated(0);
    let near = memory("near");
    let cache = LayerCache::builder()
        .tier(near.clone())
        .source_with(far.clone(), with_fill(Copying::Inline))
        .build()
        .unwrap();
    let mut opening = std::pin::pin!(cache.get(&layer));
    assert!((&mut opening).now_or_never().is_none());
    settle().await;
    assert!((&mut opening).now_or_never().is_none());
    far.gate.add_permits(1000);
    assert_eq!(all(opening.await.unwrap()).await.unwrap(), bytes);
    assert_eq!(listed(&*near).await, 1);
}

#[tokio::test]
async fn off_fills_nothing() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let (disk, shared) = (memory("disk"), memory("shared"));
    let far = Script::far("far", &bytes, []);
    let origin = Script::origin("origin", &bytes, []);
    let cache = LayerCache::builder()
        .tier(disk.clone())
        .tier_with(
            shared.clone(),
            SourceOptions::default().with_write_back(Copying::Off),
        )
        .source_with(far, with_fill(Copying::Off))
        .source(origin.clone())
        .build()
        .unwrap();
    assert_eq!(all(cache.get(&layer).await.unwrap()).await.unwrap(), bytes);
    cache.flush().await;
    assert_eq!(
        (listed(&*disk).await, listed(&*shared).await, origin.opens()),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_write_back_is_done_before_the_first_read_where_a_tier_wants_that() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let shared = memory("shared");
    let slow = Faulty::shared(shared.clone());
    let cache = LayerCache::builder()
        .tier(memory("disk"))
        .tier_with(slow, SourceOptions::default().with_write_back(Copying::Inline))
        .source(Script::origin("origin", &bytes, []))
        .build()
        .unwrap();
    cache.get(&layer).await.unwrap();
    assert_eq!(listed(&*shared).await, 1);
}

#[tokio::test]
async fn a_reader_of_a_source_that_fails_goes_on_with_what_the_fill_finds() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    for error in [cut(), Error::corrupt("bad chunk")] {
        let far = Script::far("far", &bytes, [Act::CutAt(10_000, error)]).gated(0);
        let origin = Script::origin("origin", &bytes, []);
        let cache = at_once(&memory("near"), far.clone())
            .source(origin.clone())
            .build()
            .unwrap();
        let reader = cache.get(&layer).await.unwrap();
        assert_eq!(reader.read_bytes(0, 1000).await.unwrap(), bytes[..1000]);
        let (read, ()) = tokio::join!(reader.read_bytes(15_000, 1000), far.release_late());
        assert_eq!(read.unwrap(), bytes[15_000..16_000]);
        assert_eq!(origin.streams(), 1);
        assert_eq!(all(reader).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_source_that_cannot_be_copied_is_read_where_it_is_when_nobody_else_has_the_layer() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let far = Script::far("far", &bytes, [Act::CutAt(19_000, cut()), Act::Fail(cut())]).gated(0);
    let cache = at_once(&memory("near"), far.clone()).build().unwrap();
    let reader = cache.get(&layer).await.unwrap();
    assert_eq!(reader.read_bytes(0, 1000).await.unwrap(), bytes[..1000]);
    far.gate.add_permits(1000);
    cache.settled(&layer.digest).await;
    assert_eq!(reader.read_bytes(5_000, 1000).await.unwrap(), bytes[5_000..6_000]);
}

/// Refuses claims, after a while.
#[derive(Clone, Debug)]
struct Refusing;

impl Policy for Refusing {
    async fn run<T: Send>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        if operation == Operation::Create {
            settle().await;
            return Err(cut());
        }
        work.await
    }
}

#[tokio::test]
async fn a_layer_that_no_tier_takes_is_read_in_parts_and_never_as_a_whole() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let far = Script::far("far", &bytes, []);
    let near = Arc::new(Guarded::with_policy(memory("near"), Refusing));
    let cache = LayerCache::builder()
        .tier(near)
        .source_with(far.clone(), with_fill(Copying::Background))
        .build()
        .unwrap();
    let reader = cache.get(&layer).await.unwrap();
    // While the claim is under way.
    assert_eq!(reader.read_bytes(0, 1000).await.unwrap(), bytes[..1000]);
    cache.settled(&layer.digest).await;
    assert_eq!(reader.read_bytes(5_000, 1000).await.unwrap(), bytes[5_000..6_000]);
    assert_eq!(far.streams(), 0);
}

/// Without a key whoever writes to a shared store is trusted until a full copy is compared with the diff ID. From then on nobody
/// who has read the wrong bytes goes on as if nothing were.
#[tokio::test]
async fn who_was_served_wrong_bytes_gets_an_error_once_that_is_known() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let far = Script::far("far", &bytes, [Act::Flip(500), Act::Flip(500)]).gated(0);
    let near = memory("near");
    let cache = at_once(&near, far.clone())
        .source(Script::origin("origin", &bytes, []))
        .build()
        .unwrap();
    let (deceived, other) = (cache.get(&layer).await.unwrap(), cache.get(&layer).await.unwrap());
    assert_ne!(deceived.read_bytes(0, 1000).await.unwrap(), bytes[..1000]);
    far.gate.add_permits(1000);
    cache.settled(&layer.digest).await;
    let error = deceived.read_bytes(5_000, 1000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(other.read_bytes(5_000, 1000).await.unwrap(), bytes[5_000..6_000]);
    assert_eq!(all(cache.get(&layer).await.unwrap()).await.unwrap(), bytes);
    assert_eq!(listed(&*near).await, 1);
}

#[tokio::test(start_paused = true)]
async fn publishing_fills_the_shared_tiers_and_asks_no_origin() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let shared = |inner: &Arc<MemoryTier>, full_at| {
        Arc::new(Faulty {
            inner: Arc::clone(inner),
            full_at,
            read_while_write: false,
        })
    };
    let (disk, redis, s3) = (memory("disk"), memory("redis"), memory("s3"));
    let origin = Script::origin("origin", &bytes, []);
    let cache = LayerCache::builder()
        .tier(disk.clone())
        .tier_with(
            shared(&redis, u64::MAX),
            SourceOptions::default().with_write_back(Copying::Off),
        )
        .tier_with(
            shared(&s3, 10),
            SourceOptions::default().with_write_back(Copying::Off),
        )
        .source(origin.clone())
        .build()
        .unwrap();
    let absent = cache.publish(&layer).await.unwrap_err();
    assert_eq!((absent.kind(), origin.opens()), (ErrorKind::NotFound, 0));

    put(&*disk, &layer, &bytes, &bytes).await;
    let published = cache.publish(&layer).await.unwrap();
    assert_eq!(published.len(), 2);
    assert!(published[0].tier == "redis" && *published[0].written.as_ref().unwrap());
    assert_eq!(published[1].written.as_ref().unwrap_err().tier(), Some("s3"));
    assert_eq!((listed(&*redis).await, listed(&*s3).await), (1, 0));
    let again = cache.publish(&layer).await.unwrap();
    assert!(!again[0].written.as_ref().unwrap());
    assert_eq!(origin.opens(), 0);
}

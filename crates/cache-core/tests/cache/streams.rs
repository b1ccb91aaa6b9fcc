//! A stream over sources that fail costs one passage each.

use std::sync::atomic::Ordering;

use super::flaky::*;
use super::*;

#[tokio::test]
async fn an_early_stream_whose_tier_runs_full_goes_on_in_one_passage() {
    let bytes = layer_bytes(5_000_000);
    let layer = descriptor(&bytes);
    let origin = Arc::new(Counting::new(&bytes));
    let n = origin.inflates.clone();
    let tier = Arc::new(Faulty {
        inner: MemoryTier::new("full", 1 << 30),
        full_at: 300_000,
        read_while_write: true,
    });
    let cache = LayerCache::builder()
        .tier(tier)
        .source(origin)
        .early_reads(true)
        .build()
        .unwrap();
    let r = cache.get(&layer).await.unwrap();
    assert_eq!(all(r).await.unwrap(), bytes);
    assert!(
        n.load(Ordering::SeqCst) <= 3,
        "inflates: {}",
        n.load(Ordering::SeqCst)
    );
}

#[tokio::test]
async fn a_stream_whose_tier_fails_goes_on_in_one_passage() {
    let bytes = layer_bytes(5_000_000);
    let layer = descriptor(&bytes);
    let origin = Arc::new(Counting::new(&bytes));
    let n = origin.inflates.clone();
    let tier = Flaky::new(1, cut(), 300_000);
    tier.seed(&layer, &bytes).await;
    let cache = LayerCache::builder().tier(tier).source(origin).build().unwrap();
    let r = cache.get(&layer).await.unwrap();
    assert_eq!(all(r).await.unwrap(), bytes);
    assert!(
        n.load(Ordering::SeqCst) <= 2,
        "inflates: {}",
        n.load(Ordering::SeqCst)
    );
}

#[tokio::test]
async fn a_stream_over_a_source_that_does_not_verify_is_verified() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    for (act, right) in [(Act::Serve, true), (Act::Flip(9_999), false)] {
        let far = Script::unverified("far", &bytes, [act]);
        let cache = LayerCache::builder().source(far).build().unwrap();
        let streamed = all(cache.get(&layer).await.unwrap()).await;
        match right {
            true => assert_eq!(streamed.unwrap(), bytes),
            false => assert_eq!(streamed.unwrap_err().kind(), ErrorKind::Corrupt),
        }
    }
}

#[tokio::test]
async fn a_stream_moves_on_before_its_first_byte() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let one = Counting {
        fail_streams: Arc::new(1.into()),
        name: "one",
        ..Counting::new(&bytes)
    };
    let two = Counting {
        name: "two",
        ..Counting::new(&bytes)
    };
    let cache = LayerCache::builder()
        .source(Arc::new(one))
        .source(Arc::new(two))
        .build()
        .unwrap();
    assert_eq!(
        all(cache.get(&layer).await.unwrap())
            .await
            .expect("no byte was handed out yet"),
        bytes
    );
}

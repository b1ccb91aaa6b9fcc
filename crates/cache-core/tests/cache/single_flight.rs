//! One search and one fill, however many readers ask, come and go.

use super::*;

#[tokio::test]
async fn fifty_readers_of_a_cold_layer_cost_one_stream() {
    let bytes = layer_bytes(100_000);
    let origin = Script::origin("origin", &bytes, []).gated(0);
    let near = memory("near");
    let cache = LayerCache::builder()
        .tier(near.clone())
        .source(origin.clone())
        .build()
        .unwrap();
    let layer = descriptor(&bytes);
    let readers = (0..50).map(|i| {
        let (cache, layer) = (cache.clone(), layer.clone());
        async move { cache.get(&layer).await?.read_bytes(i * 1000, 500).await }
    });
    let (results, ()) = tokio::join!(join_all(readers), origin.release_late());
    for (i, result) in results.into_iter().enumerate() {
        assert_eq!(result.unwrap(), bytes[i * 1000..i * 1000 + 500]);
    }
    assert_eq!((origin.opens(), origin.streams()), (1, 1));
    assert_eq!(cache.get(&layer).await.unwrap().len(), Some(100_000));
    assert_eq!(origin.opens(), 1);
    assert_eq!(cache.fill_progress(&layer.digest), None);
}

#[tokio::test]
async fn a_reader_that_goes_away_cancels_the_fill_for_nobody() {
    let bytes = layer_bytes(10_000);
    let origin = Script::origin("origin", &bytes, []).gated(3);
    let near = memory("near");
    let cache = LayerCache::builder()
        .tier(near.clone())
        .source(origin.clone())
        .build()
        .unwrap();
    let layer = descriptor(&bytes);
    let mut first = Box::pin(cache.get(&layer));
    assert!((&mut first).now_or_never().is_none());
    while cache.fill_progress(&layer.digest) != Some(3 * PIECE as u64) {
        tokio::task::yield_now().await;
    }
    drop(first);
    origin.gate.add_permits(1000);
    assert_eq!(all(cache.get(&layer).await.unwrap()).await.unwrap(), bytes);
    assert_eq!(origin.streams(), 1);
}

#[tokio::test]
async fn a_panic_reaches_every_reader_as_an_error_and_harms_no_later_one() {
    let bytes = layer_bytes(10_000);
    let origin = Script::origin("origin", &bytes, [Act::Panic]);
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .source(origin)
        .build()
        .unwrap();
    let layer = descriptor(&bytes);
    for result in join_all((0..5).map(|_| cache.get(&layer))).await {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.layer()),
            (ErrorKind::Unavailable, Some(&layer.digest))
        );
    }
    cache.flush().await;
    assert_eq!(all(cache.get(&layer).await.unwrap()).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_denied_repository_does_not_deny_the_layer_to_another() {
    let bytes = layer_bytes(10_000);
    let denied = descriptor(&bytes).with_repository("registry.example/denied");
    let allowed = descriptor(&bytes).with_repository("registry.example/allowed");
    let origin = Script::origin("origin", &bytes, [Act::Fail(Error::permanent("denied"))]);
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .source(origin)
        .build()
        .unwrap();
    let (first, second) = tokio::join!(cache.get(&denied), cache.get(&allowed));
    assert_eq!(first.unwrap_err().kind(), ErrorKind::Permanent);
    assert_eq!(all(second.unwrap()).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_closed_cache_refuses_but_finishes_what_it_began() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let origin = Script::origin("origin", &bytes, []).gated(0);
    let near = memory("near");
    let cache = LayerCache::builder()
        .tier(near.clone())
        .source(origin.clone())
        .build()
        .unwrap();
    let open = tokio::spawn({
        let (cache, layer) = (cache.clone(), layer.clone());
        async move { cache.get(&layer).await }
    });
    while cache.fill_progress(&layer.digest).is_none() {
        tokio::task::yield_now().await;
    }
    let ((), ()) = tokio::join!(cache.close(), async { origin.gate.add_permits(1000) });
    assert_eq!(near.used_bytes(), 10_000);
    let reader = open.await.unwrap().unwrap();
    assert_eq!(reader.read_bytes(0, 10).await.unwrap(), bytes[..10]);
    assert_eq!(cache.open(&layer).await.unwrap_err().kind(), ErrorKind::Permanent);
}

#[tokio::test]
async fn caches_nest() {
    let bytes = layer_bytes(10_000);
    let origin = Script::origin("origin", &bytes, []);
    let (outer, inner) = (memory("outer"), memory("inner"));
    let inside = LayerCache::builder()
        .name("inside")
        .tier(inner.clone())
        .source(origin)
        .build()
        .unwrap();
    let cache = LayerCache::builder()
        .tier(outer.clone())
        .source(Arc::new(inside))
        .build()
        .unwrap();
    assert_eq!(
        all(cache.get(&descriptor(&bytes)).await.unwrap()).await.unwrap(),
        bytes
    );
    assert_eq!((outer.used_bytes(), inner.used_bytes()), (10_000, 10_000));
}

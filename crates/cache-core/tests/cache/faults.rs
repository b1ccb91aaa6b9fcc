//! What a reader gets when a source or a tier fails.

use super::*;

#[tokio::test]
async fn absent_only_when_every_source_said_so() {
    let bytes = layer_bytes(1000);
    let layer = descriptor(&bytes);
    let absent = || Script::far("far", &bytes, [Act::Absent]);
    let down = Script::far("down", &bytes, [Act::Fail(cut())]);
    let near = memory("near");
    let cache = LayerCache::builder()
        .tier(near.clone())
        .source(absent())
        .source(absent())
        .build()
        .unwrap();
    assert!(cache.open(&layer).await.unwrap().is_none());
    let cache = LayerCache::builder()
        .source(absent())
        .source(down)
        .tier(near.clone())
        .build()
        .unwrap();
    let error = cache.open(&layer).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.tier()),
        (ErrorKind::Unavailable, Some("down"))
    );
    assert_eq!(near.used_bytes(), 0);
}

#[tokio::test]
async fn the_error_of_several_sources_names_each_and_hopes_for_a_retry() {
    let bytes = layer_bytes(1000);
    let denied = Script::far("denied", &bytes, [Act::Fail(Error::permanent("no access"))]);
    let down = Script::far("down", &bytes, [Act::Fail(cut().caused_by("reset"))]);
    let cache = LayerCache::builder().source(denied).source(down).build().unwrap();
    let error = cache.open(&descriptor(&bytes)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("denied: no access"), "{error}");
    assert!(
        error.message().contains("down: the connection was cut: reset"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_corrupt_leaves_more_hope_than_what_is_denied() {
    let bytes = layer_bytes(1000);
    for kind in [ErrorKind::Corrupt, ErrorKind::Disputed] {
        let denied = Script::far("denied", &bytes, [Act::Fail(Error::permanent("no access"))]);
        let wrong = Script::far("wrong", &bytes, [Act::Fail(Error::new(kind, "bad index"))]);
        let cache = LayerCache::builder()
            .source(denied)
            .source(wrong)
            .build()
            .unwrap();
        let error = cache.open(&descriptor(&bytes)).await.unwrap_err();
        assert_eq!(error.kind(), kind);
    }
}

#[tokio::test]
async fn every_source_that_fails_is_passed_over() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    for act in [
        Act::Fail(cut()),
        Act::Fail(Error::corrupt("bad index")),
        Act::Fail(Error::permanent("denied")),
        Act::CutAt(4500, cut()),
        Act::CutAt(0, Error::corrupt("bad chunk")),
        Act::Flip(9_999),
        Act::Absent,
    ] {
        let far = Script::origin("far", &bytes, [act.clone()]);
        let origin = Script::origin("origin", &bytes, []);
        let near = memory("near");
        let cache = LayerCache::builder()
            .tier(near.clone())
            .source(far)
            .source(origin.clone())
            .build()
            .unwrap();
        assert_eq!(
            all(cache.get(&layer).await.unwrap()).await.unwrap(),
            bytes,
            "{act:?}"
        );
        assert_eq!(origin.streams(), 1);
        assert_eq!(near.used_bytes(), 10_000);
    }
}

#[tokio::test]
async fn a_tier_that_cannot_take_the_layer_leaves_it_to_the_next_or_to_no_tier() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    for read_while_write in [true, false] {
        let origin = Script::origin("origin", &bytes, []);
        let faulty = || {
            let inner = MemoryTier::new("full", 1 << 30);
            Arc::new(Faulty {
                inner,
                full_at: 2500,
                read_while_write,
            })
        };
        let near = memory("near");
        let cache = LayerCache::builder()
            .tier(faulty())
            .tier(near.clone())
            .source(origin.clone())
            .build()
            .unwrap();
        assert_eq!(all(cache.get(&layer).await.unwrap()).await.unwrap(), bytes);
        assert_eq!(near.used_bytes(), 10_000);

        let full = faulty();
        let cache = LayerCache::builder()
            .tier(full.clone())
            .source(origin)
            .build()
            .unwrap();
        let reader = cache.get(&layer).await.unwrap();
        assert_eq!(reader.read_bytes(4000, 10).await.unwrap(), bytes[4000..4010]);
        assert_eq!(all(reader).await.unwrap(), bytes);
        assert_eq!(full.inner.used_bytes(), 0);
    }
}

#[tokio::test]
async fn a_read_goes_on_at_the_next_source_when_its_source_fails() {
    let bytes = layer_bytes(800_000);
    let layer = descriptor(&bytes);
    for error in [cut(), Error::corrupt("bad chunk")] {
        let far = Script::far("far", &bytes, vec![Act::CutAt(300_000, error); 2]);
        let other = Script::far("other", &bytes, []);
        let cache = LayerCache::builder()
            .source(far)
            .source(other.clone())
            .build()
            .unwrap();
        let reader = cache.get(&layer).await.unwrap();
        assert_eq!(reader.read_bytes(100, 100).await.unwrap(), bytes[100..200]);
        assert_eq!(other.opens(), 0);
        assert_eq!(all(reader).await.unwrap(), bytes);
        assert_eq!(other.opens(), 1);
    }
}

#[tokio::test]
async fn a_read_fails_when_every_source_has_failed() {
    let bytes = layer_bytes(1000);
    let sources = ["one", "two"].map(|name| Script::far(name, &bytes, vec![Act::CutAt(0, cut()); 2]));
    let [one, two] = sources;
    let cache = LayerCache::builder().source(one).source(two).build().unwrap();
    let error = cache
        .get(&descriptor(&bytes))
        .await
        .unwrap()
        .read_bytes(0, 1)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_tier_with_wrong_bytes_is_passed_over_and_written_afresh() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let (near, lying) = (memory("near"), memory("lying"));
    put(&*lying, &layer, &layer_bytes(9_000), &bytes).await;
    let origin = Script::origin("origin", &bytes, []);
    let cache = LayerCache::builder()
        .tier(near)
        .tier(lying.clone())
        .source(origin.clone())
        .build()
        .unwrap();
    assert_eq!(all(cache.get(&layer).await.unwrap()).await.unwrap(), bytes);
    cache.flush().await;
    assert_eq!(all(lying.get(&layer).await.unwrap()).await.unwrap(), bytes);
    assert_eq!(origin.streams(), 1);
}

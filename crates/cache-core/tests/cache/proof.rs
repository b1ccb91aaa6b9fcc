//! Nothing is believed before it is verified, neither bytes nor claims.

use async_trait::async_trait;
use futures_util::stream;

use super::*;
use cache_core::{ByteStream, Capabilities, Digest, Role};

#[tokio::test]
async fn wrong_bytes_are_never_committed() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let origin = Script::origin("origin", &bytes, [Act::Flip(5_000)]);
    let near = memory("near");
    let cache = LayerCache::builder()
        .tier(near.clone())
        .source(origin)
        .build()
        .unwrap();
    let error = cache.open(&layer).await.unwrap_err();
    assert_eq!((error.kind(), error.tier()), (ErrorKind::Corrupt, Some("origin")));
    assert!(error.message().contains("diff ID"), "{error}");
    assert_eq!((near.used_bytes(), listed(&*near).await), (0, 0));
}

/// Knows how long its layer is, and does not give all of it.
#[derive(Debug)]
struct Short(Bytes);

#[async_trait]
impl LayerSource for Short {
    fn name(&self) -> &str {
        "short"
    }

    fn role(&self) -> Role {
        Role::Origin
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    async fn open(&self, _layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        Ok(Some(Arc::new(Self(self.0.clone()))))
    }
}

#[async_trait]
impl LayerReader for Short {
    fn len(&self) -> Option<u64> {
        Some(self.0.len() as u64 + 1)
    }

    fn random_access(&self) -> bool {
        false
    }

    async fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Result<usize> {
        Err(cut())
    }

    fn stream(self: Arc<Self>, _offset: u64) -> ByteStream {
        stream::iter([Ok(self.0.clone())]).boxed()
    }
}

#[tokio::test]
async fn a_layer_that_ends_early_is_never_committed_even_if_nothing_tells_its_diff_id() {
    let layer = LayerDescriptor::new(Digest::sha256_of(b"the blob"));
    let near = memory("near");
    let cache = LayerCache::builder()
        .tier(near.clone())
        .source(Arc::new(Short(layer_bytes(10_000))))
        .build()
        .unwrap();
    let error = cache.open(&layer).await.unwrap_err();
    assert_eq!((error.kind(), error.tier()), (ErrorKind::Corrupt, Some("short")));
    assert_eq!((near.used_bytes(), listed(&*near).await), (0, 0));
}

#[tokio::test]
async fn a_layer_longer_than_the_limit_is_never_committed() {
    let bytes = layer_bytes(10_000);
    for (limit, fits) in [(9_999, false), (10_000, true)] {
        let near = memory("near");
        let cache = LayerCache::builder()
            .tier(near.clone())
            .source(Script::origin("origin", &bytes, []))
            .max_layer_bytes(limit)
            .build()
            .unwrap();
        let opened = cache
            .open(&descriptor(&bytes))
            .await
            .map(|reader| reader.is_some());
        let refused = opened.as_ref().err().map(Error::kind);
        assert_eq!(refused, (!fits).then_some(ErrorKind::Permanent), "{opened:?}");
        assert_eq!(near.used_bytes(), if fits { 10_000 } else { 0 });
    }
}

#[tokio::test]
async fn a_false_claim_of_one_image_neither_reads_nor_purges_a_good_layer() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let origin = Script::origin("origin", &bytes, []);
    let near = memory("near");
    let cache = LayerCache::builder()
        .tier(near.clone())
        .source(origin.clone())
        .build()
        .unwrap();
    cache.get(&layer).await.unwrap();
    let hostile = layer
        .clone()
        .with_diff_id(cache_core::Digest::sha256_of(b"forged"));
    assert_eq!(cache.open(&hostile).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(all(cache.get(&layer).await.unwrap()).await.unwrap(), bytes);
    assert_eq!(origin.streams(), 1);
}

#[tokio::test]
async fn a_false_claim_that_comes_first_fails_its_own_image_alone() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let hostile = layer
        .clone()
        .with_diff_id(cache_core::Digest::sha256_of(b"forged"));
    let origin = Script::origin("origin", &bytes, []);
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .source(origin)
        .build()
        .unwrap();
    let (forged, honest) = tokio::join!(cache.get(&hostile), cache.get(&layer));
    assert!(forged.is_err());
    assert_eq!(all(honest.unwrap()).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_false_claim_purges_nothing_from_a_tier_that_does_not_notice_it() {
    let bytes = layer_bytes(10_000);
    let hostile = descriptor(b"forged");
    let (near, far) = (memory("near"), memory("far"));
    put(&*far, &hostile, &bytes, b"forged").await;
    let origin = Script::origin("origin", &bytes, []);
    let cache = LayerCache::builder()
        .tier(near.clone())
        .tier(far.clone())
        .source(origin)
        .build()
        .unwrap();
    assert_eq!(cache.open(&hostile).await.unwrap_err().kind(), ErrorKind::Corrupt);
    cache.flush().await;
    assert_eq!((near.used_bytes(), far.used_bytes()), (0, 10_000));
}

#[tokio::test]
async fn an_origin_alone_is_verified_before_a_read_and_at_the_end_of_a_stream() {
    let bytes = layer_bytes(10_000);
    let origin = Script::origin("origin", &bytes, [Act::Flip(9_000)]);
    let cache = LayerCache::builder().source(origin).build().unwrap();
    let error = all(cache.get(&descriptor(&bytes)).await.unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_range_of_an_unproven_stream_is_read_to_the_end_of_the_layer() {
    let bytes = layer_bytes(10_000);
    let origin = Script::origin("origin", &bytes, [Act::Serve, Act::Flip(9_000)]);
    let cache = LayerCache::builder().source(origin).build().unwrap();
    let layer = descriptor(&bytes);
    let read = cache
        .get(&layer)
        .await
        .unwrap()
        .stream_range(10, 20)
        .try_collect::<Vec<_>>()
        .await
        .unwrap()
        .concat();
    assert_eq!(read, bytes[10..30]);
    let wrong: Result<Vec<Bytes>> = cache
        .get(&layer)
        .await
        .unwrap()
        .stream_range(10, 20)
        .try_collect()
        .await;
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn without_early_reads_nothing_is_read_before_all_is_verified() {
    let bytes = layer_bytes(10_000);
    let origin = Script::origin("origin", &bytes, []).gated(9);
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .source(origin.clone())
        .build()
        .unwrap();
    let layer = descriptor(&bytes);
    let mut open = Box::pin(cache.get(&layer));
    while cache.fill_progress(&descriptor(&bytes).digest) != Some(9_000) {
        assert!((&mut open).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    assert!((&mut open).now_or_never().is_none());
    origin.gate.add_permits(1000);
    open.await.unwrap();
}

#[tokio::test]
async fn early_reads_come_as_soon_as_their_bytes_are_there() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let origin = Script::origin("origin", &bytes, []).gated(5);
    let near = memory("near");
    let cache = LayerCache::builder()
        .tier(near)
        .source(origin.clone())
        .early_reads(true)
        .build()
        .unwrap();
    let reader = cache.get(&layer).await.unwrap();
    assert_eq!(reader.len(), None);
    assert_eq!(
        reader.read_bytes(4_000, 1_000).await.unwrap(),
        bytes[4_000..5_000]
    );
    let mut late = Box::pin(reader.read_bytes(4_500, 1_000));
    assert!((&mut late).now_or_never().is_none());
    origin.gate.add_permits(1000);
    assert_eq!(late.await.unwrap(), bytes[4_500..5_500]);
    assert_eq!(all(reader).await.unwrap(), bytes);
    assert_eq!(origin.streams(), 1);
}

#[tokio::test]
async fn who_has_read_wrong_bytes_early_gets_an_error_even_if_another_source_heals_the_fill() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let liar = Script::origin("liar", &bytes, [Act::Flip(100)]).gated(5);
    let honest = Script::origin("honest", &bytes, []);
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .source(liar.clone())
        .source(honest)
        .early_reads(true)
        .build()
        .unwrap();
    let (early, late) = (cache.get(&layer).await.unwrap(), cache.get(&layer).await.unwrap());
    assert_ne!(early.read_bytes(0, 200).await.unwrap(), bytes[..200]);
    liar.gate.add_permits(1000);
    assert_eq!(late.read_bytes(9_900, 100).await.unwrap(), bytes[9_900..]);
    let error = early.read_bytes(200, 200).await.unwrap_err();
    assert_eq!((error.kind(), error.tier()), (ErrorKind::Corrupt, Some("cache")));
}

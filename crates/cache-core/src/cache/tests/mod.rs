//! Stories of a composed cache: who is asked, who is filled, and what a reader gets when something fails.

mod script;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use proptest::prelude::*;

use self::script::{Act, Faulty, PIECE, Script, descriptor, layer_bytes};
use crate::{
    Algorithm, Claim, Error, ErrorKind, IndexBuilder, LayerCache, LayerDescriptor, LayerReader,
    LayerReaderExt, LayerSource, LayerSourceExt, MemoryTier, Metered, Result, Tier,
};

fn memory(name: &str) -> Arc<MemoryTier> {
    Arc::new(MemoryTier::new(name, 1 << 30))
}

fn cut() -> Error {
    Error::unavailable("the connection was cut")
}

async fn all(reader: Arc<dyn LayerReader>) -> Result<Vec<u8>> {
    reader
        .stream(0)
        .try_fold(
            Vec::new(),
            |all, piece| async move { Ok([&all[..], &piece].concat()) },
        )
        .await
}

async fn listed(tier: &dyn Tier) -> usize {
    tier.list().count().await
}

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
    let (results, ()) = tokio::join!(join_all(readers), async { origin.gate.add_permits(1000) });
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
    let hostile = layer.clone().with_diff_id(crate::Digest::sha256_of(b"forged"));
    assert_eq!(cache.open(&hostile).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(all(cache.get(&layer).await.unwrap()).await.unwrap(), bytes);
    assert_eq!(origin.streams(), 1);
}

#[tokio::test]
async fn a_false_claim_that_comes_first_fails_its_own_image_alone() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let hostile = layer.clone().with_diff_id(crate::Digest::sha256_of(b"forged"));
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

/// Puts `bytes` into a tier as if `index` described them, which only a broken or lying tier would have.
async fn put(tier: &dyn Tier, layer: &LayerDescriptor, bytes: &Bytes, index: &[u8]) {
    let mut builder = IndexBuilder::new(Algorithm::Sha256);
    builder.update(index);
    let Claim::Write(mut writer) = tier.create(layer).await.unwrap() else {
        panic!("it is there already")
    };
    writer.write(bytes.clone()).await.unwrap();
    writer.commit(&builder.finish(layer.digest)).await.unwrap();
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
        let far = Script::far("far", &bytes, [Act::CutAt(300_000, error)]);
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
    let sources = ["one", "two"].map(|name| Script::far(name, &bytes, [Act::CutAt(0, cut())]));
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
    assert_eq!((error.kind(), error.tier()), (ErrorKind::Corrupt, Some("liar")));
}

#[tokio::test]
async fn further_tiers_are_filled_in_the_background_and_flush_waits_for_them() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let origin = Script::origin("origin", &bytes, []);
    let [one, two, three] = ["one", "two", "three"].map(memory);
    let slow = Arc::new(Faulty {
        inner: MemoryTier::new("slow", 1 << 30),
        full_at: u64::MAX,
        read_while_write: false,
    });
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
    let front = Arc::new(Faulty {
        inner: MemoryTier::new("front", 1 << 30),
        full_at: u64::MAX,
        read_while_write: false,
    });
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
        crate::LayerDescriptor::new(crate::Digest::sha256_of(&[i]))
            .with_diff_id(crate::Digest::sha256_of(&bytes))
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

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Serve),
        2 => Just(Act::Absent),
        1 => Just(Act::Fail(cut())),
        1 => Just(Act::Fail(Error::permanent("denied"))),
        1 => Just(Act::Fail(Error::corrupt("bad index"))),
        1 => (0usize..20_000).prop_map(|at| Act::CutAt(at, cut())),
        1 => (0usize..20_000).prop_map(|at| Act::CutAt(at, Error::corrupt("bad chunk"))),
    ]
}

#[derive(Clone, Debug)]
enum Kind {
    Memory { full_at: u64, read_while_write: bool },
    Far(Vec<Act>),
    Origin(Vec<Act>, Option<usize>),
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        (prop_oneof![Just(u64::MAX), 0u64..20_000], any::<bool>()).prop_map(|(full_at, read_while_write)| {
            Kind::Memory {
                full_at,
                read_while_write,
            }
        }),
        prop::collection::vec(act(), 0..4).prop_map(Kind::Far),
        (
            prop::collection::vec(act(), 0..4),
            prop::option::of(0usize..20_000)
        )
            .prop_map(|(acts, flip)| Kind::Origin(acts, flip)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    /// Any order of any sources, failing in any way: right bytes or an error, and right bytes whenever a source behind
    /// the failing ones has no fault at all.
    #[test]
    fn any_composition_gives_the_layer_or_an_error(
        kinds in prop::collection::vec(kind(), 0..5),
        faultless in any::<bool>(),
        reads in prop::collection::vec((0u64..21_000, 0usize..5_000), 1..6),
    ) {
        let bytes: Bytes = layer_bytes(20_000);
        let layer = descriptor(&bytes);
        let mut builder = LayerCache::builder();
        for kind in kinds.iter().cloned() {
            builder = match kind {
                Kind::Memory { full_at, read_while_write } => {
                    let inner = MemoryTier::new("memory", 1 << 30);
                    builder.tier(Arc::new(Faulty { inner, full_at, read_while_write }))
                }
                Kind::Far(acts) => builder.source(Script::far("far", &bytes, acts)),
                Kind::Origin(mut acts, flip) => {
                    acts.extend(flip.map(Act::Flip));
                    // An origin verifies what `read_at` returns, which the script does not: so never read it without a
                    // tier that takes the layer in front.
                    builder
                        .tier(Arc::new(MemoryTier::new("in front", 1 << 30)))
                        .source(Script::origin("origin", &bytes, acts))
                }
            };
        }
        if faultless || kinds.is_empty() {
            builder = builder.source(Script::far("faultless", &bytes, []));
        }
        let cache = builder.build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for (offset, len) in reads {
                let result = async { cache.get(&layer).await?.read_bytes(offset, len).await }.await;
                let start = (offset as usize).min(bytes.len());
                match result {
                    Ok(read) => assert_eq!(read, bytes[start..(start + len).min(bytes.len())]),
                    Err(error) => assert!(!faultless, "{error}"),
                }
                let result = async { all(cache.get(&layer).await?).await }.await;
                match result {
                    Ok(read) => assert_eq!(read, bytes),
                    Err(error) => assert!(!faultless, "{error}"),
                }
            }
            cache.close().await;
        });
    }
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

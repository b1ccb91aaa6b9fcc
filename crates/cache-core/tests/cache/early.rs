//! Early reads: what is handed out before it is verified is proven or refuted afterwards.

use std::sync::atomic::Ordering;

use super::flaky::*;
use super::*;

#[tokio::test]
async fn wrong_bytes_read_early_are_reported_when_another_source_goes_on() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let mut wrong = bytes.to_vec();
    wrong[100] ^= 0x80;
    let wrong: Bytes = wrong.into();
    let liar = Script::origin("liar", &wrong, [Act::CutAt(6_000, cut())]).gated(5);
    let honest = Script::origin("honest", &bytes, []);
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .source(liar.clone())
        .source(honest)
        .early_reads(true)
        .build()
        .unwrap();
    let early = cache.get(&layer).await.unwrap();
    let got = early.read_bytes(0, 200).await.unwrap();
    liar.gate.add_permits(1000);
    let rest = all(early).await;
    assert!(
        got == bytes[..200] || rest.is_err(),
        "wrong bytes were read and no error came"
    );
}

#[tokio::test]
async fn bytes_read_early_are_proven_or_refuted_when_the_tier_runs_full() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    for (act, right) in [(Act::Flip(100), false), (Act::Serve, true)] {
        let origin = Script::origin("origin", &bytes, [act]).gated(5);
        let tier = Arc::new(Faulty {
            inner: MemoryTier::new("full", 1 << 30),
            full_at: 6_000,
            read_while_write: true,
        });
        let cache = LayerCache::builder()
            .tier(tier)
            .source(origin.clone())
            .early_reads(true)
            .build()
            .unwrap();
        let early = cache.get(&layer).await.unwrap();
        let got = early.read_bytes(0, 200).await.unwrap();
        assert_eq!(got == bytes[..200], right);
        origin.gate.add_permits(1000);
        let rest = all(early).await;
        assert_eq!(
            rest.as_ref().ok().map(|rest| *rest == bytes),
            right.then_some(true)
        );
    }
}

#[tokio::test]
async fn wrong_bytes_read_early_are_reported_by_a_read_that_was_waiting() {
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
    let early = cache.get(&layer).await.unwrap();
    assert_ne!(early.read_bytes(0, 5_000).await.unwrap(), bytes[..5_000]);
    let mut last = Box::pin(early.read_bytes(5_000, 5_000));
    assert!((&mut last).now_or_never().is_none());
    liar.gate.add_permits(1000);
    let error = last.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("discard what was read"), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("liar"), "{cause}");
}

#[tokio::test]
async fn a_partial_layer_that_cannot_be_read_waits_for_the_whole() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let tier = Flaky::new(0, cut(), 0);
    tier.bad_partial.store(true, Ordering::SeqCst);
    let origin = Script::origin("origin", &bytes, []).gated(5);
    let cache = LayerCache::builder()
        .tier(tier)
        .source(origin.clone())
        .early_reads(true)
        .build()
        .unwrap();
    let early = cache.get(&layer).await.unwrap();
    while cache.fill_progress(&layer.digest) != Some(5_000) {
        tokio::task::yield_now().await;
    }
    let r = early.clone();
    let h = tokio::spawn(async move { r.read_bytes(0, 200).await });
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    origin.gate.add_permits(1000);
    assert_eq!(
        h.await.unwrap().expect("a failing tier failed the read"),
        bytes[..200]
    );
}

#[tokio::test]
async fn an_early_reader_knows_its_length_once_the_fill_has_ended() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let origin = Script::origin("origin", &bytes, []).gated(1);
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .source(origin.clone())
        .early_reads(true)
        .build()
        .unwrap();
    let r = cache.get(&layer).await.unwrap();
    origin.gate.add_permits(1000);
    cache.flush().await;
    assert_eq!(r.read_bytes(9_990, 100).await.unwrap().len(), 10);
    assert_eq!(r.len(), Some(10_000));
}

#[tokio::test]
async fn an_early_reader_survives_the_fill_of_another_repository() {
    let bytes = layer_bytes(10_000);
    let layer = descriptor(&bytes);
    let origin = Script::origin("origin", &bytes, [Act::CutAt(3_000, Error::permanent("denied"))]).gated(1);
    let build = |early| {
        LayerCache::builder()
            .tier(memory("near"))
            .source(origin.clone())
            .early_reads(early)
            .build()
            .unwrap()
    };
    let cache = build(true);
    let other = cache.get(&layer.clone().with_repository("other")).await.unwrap();
    let mine = cache.get(&layer.clone().with_repository("mine")).await.unwrap();
    origin.gate.add_permits(1000);
    assert!(other.read_bytes(5_000, 10).await.is_err());
    assert_eq!(
        mine.read_bytes(5_000, 10).await.expect("`mine` was never asked"),
        bytes[5_000..5_010]
    );
}

//! Ranges: how much they move, and what becomes of answers that are cut or wrong.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use cache_core::{ErrorKind, LayerReaderExt, Tier};
use cache_testkit::FaultProxy;

use crate::front::{Front, Seen, Verdict};
use crate::support::{CHUNK, Layer, Raw, fill, open, prefix, read_all, server, tier_at};

/// A head of an answer, with room to spare.
const HEAD: u64 = 4096;

#[tokio::test]
async fn a_read_moves_little_more_than_the_chunks_it_touches() {
    let proxy = FaultProxy::start(server()).await;
    let prefix = prefix();
    let layer = Layer::new(1, 20 * CHUNK);
    fill(&tier_at(server(), &prefix), &layer).await;
    let tier = tier_at(proxy.address(), &prefix);
    let reader = open(&tier, &layer).await;
    let moved = || proxy.traffic().from_upstream;

    for (offset, len, chunks) in [
        (5 * CHUNK + 7, 100, 1),
        (5 * CHUNK + 2000, 100, 0),
        (8 * CHUNK - 1, 2, 2),
        (10 * CHUNK, 3 * CHUNK, 3),
    ] {
        let before = moved();
        let read = reader.read_bytes(offset as u64, len).await.unwrap();
        assert_eq!(read, layer.bytes[offset..offset + len]);
        let (moved, asked) = (moved() - before, (chunks * CHUNK) as u64);
        assert!(
            (asked..=asked + HEAD * chunks as u64).contains(&moved),
            "{moved} for {chunks} chunks"
        );
    }
}

#[tokio::test]
async fn a_stream_takes_several_chunks_with_one_request() {
    let front = Front::watch(server()).await;
    let prefix = prefix();
    let layer = Layer::new(1, 16 * CHUNK + 1);
    let tier = tier_at(front.address, &prefix);
    let reader = fill(&tier, &layer).await;
    assert!(read_all(&reader).await.unwrap() == layer.bytes);
    assert_eq!(front.count(|seen| seen.range.is_some()), 5);
    assert!(
        front
            .log()
            .iter()
            .all(|seen| seen.range.is_none() || seen.if_match.is_some())
    );
}

fn is_read(seen: &Seen) -> bool {
    seen.range.is_some()
}

#[tokio::test]
async fn an_answer_that_is_cut_is_resumed_where_it_ended() {
    const CUT: usize = 300_000;
    let front = Front::start(server(), |seen| match is_read(seen) {
        true => Verdict::Cut(CUT),
        false => Verdict::Pass,
    })
    .await;
    let prefix = prefix();
    let layer = Layer::new(1, 3 * CHUNK + 10);
    let tier = tier_at(front.address, &prefix);
    let reader = fill(&tier, &layer).await;
    assert!(read_all(&reader).await.unwrap() == layer.bytes);
    // The last one ends by itself.
    assert!(front.count(is_read) >= layer.bytes.len() / CUT);
    let log = front.log();
    let etags: Vec<_> = log
        .iter()
        .filter(|seen| is_read(seen))
        .map(|seen| &seen.if_match)
        .collect();
    assert!(etags.iter().all(|etag| *etag == etags[0]), "{etags:?}");
    assert!(etags[0].is_some());
}

#[tokio::test]
async fn an_answer_that_is_always_cut_at_its_start_is_given_up() {
    let front = Front::start(server(), |seen| match is_read(seen) {
        true => Verdict::Cut(0),
        false => Verdict::Pass,
    })
    .await;
    let layer = Layer::new(1, 1000);
    let reader = fill(&tier_at(front.address, &prefix()), &layer).await;
    let error = reader.read_bytes(0, 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!((1..10).contains(&front.count(is_read)));
}

#[tokio::test]
async fn what_is_no_answer_to_the_range_is_not_taken_for_one() {
    for verdict in [
        || Verdict::Rename("bytes 1-1000/2000"),
        || Verdict::Rename("bytes 0-999/3000"),
        || Verdict::Rename("nonsense"),
        || Verdict::Answer(StatusCode::PARTIAL_CONTENT, "no range at all"),
        || Verdict::Answer(StatusCode::OK, "the whole of it"),
    ] {
        let front = Front::start(server(), move |seen| match is_read(seen) {
            true => verdict(),
            false => Verdict::Pass,
        })
        .await;
        let layer = Layer::new(1, CHUNK + 1000);
        let reader = fill(&tier_at(front.address, &prefix()), &layer).await;
        let error = reader.read_bytes(0, 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{:?}", verdict());
    }
}

#[tokio::test]
async fn a_layer_that_is_replaced_or_removed_gives_no_wrong_bytes() {
    let prefix = prefix();
    let (tier, raw) = (tier_at(server(), &prefix), Raw::new(&prefix));
    let (layer, other) = (Layer::new(1, 4 * CHUNK), Layer::new(2, 4 * CHUNK));
    let reader = fill(&tier, &layer).await;
    assert_eq!(reader.read_bytes(0, 10).await.unwrap(), layer.bytes[..10]);

    // Servers that do not mind If-Match answer with the other bytes, which their hash gives away.
    raw.put(layer.digest(), "", other.bytes.clone()).await;
    let error = reader.read_bytes(CHUNK as u64, 10).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Corrupt),
        "{error}"
    );

    tier.remove(layer.digest()).await.unwrap();
    let error = reader.read_bytes(CHUNK as u64, 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("replaced or removed"), "{error}");
    assert_eq!((error.tier(), error.layer()), (Some("s3"), Some(layer.digest())));
}

#[tokio::test]
async fn a_precondition_that_fails_says_that_the_layer_was_replaced() {
    let front = Front::start(server(), |seen| {
        match is_read(seen) && seen.method == Method::GET {
            true => Verdict::Answer(
                StatusCode::PRECONDITION_FAILED,
                "<Error><Code>PreconditionFailed</Code></Error>",
            ),
            false => Verdict::Pass,
        }
    })
    .await;
    let layer = Layer::new(1, 10);
    let reader = fill(&tier_at(front.address, &prefix()), &layer).await;
    let error = Arc::clone(&reader).read_bytes(0, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("replaced or removed"), "{error}");
}

//! Parts of a blob, from servers that serve ranges and from servers that do not.

#[allow(dead_code, reason = "the other tests use the rest of it")]
#[path = "../../../tests/it/server.rs"]
mod server;

use std::time::Duration;

use axum::response::Response;
use cache_core::inflate::{Inflater, MAX_FETCH_LEN};
use cache_core::{Digest, ErrorKind, LayerDescriptor};
use futures_util::TryStreamExt;

use self::server::{Seen, Server, cut, status, with};
use super::*;
use crate::http::RegistryConfig;
use crate::http::origin::RegistryOrigin;
use crate::{Anonymous, OriginStats};

fn bytes() -> Vec<u8> {
    (0..100_000u32).map(|i| (i.wrapping_mul(i) / 7) as u8).collect()
}

/// All of the blob, or the range that was asked for.
fn ranged(request: &Seen) -> Response {
    let bytes = bytes();
    let Some(range) = request.range() else {
        return with(200, &[], bytes);
    };
    let (start, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
    let answered = format!("bytes {start}-{end}/{}", bytes.len());
    with(206, &[("content-range", &answered)], bytes[start..=end].to_vec())
}

/// The blob that the server has, and what its origin counts.
async fn blob_at(server: &Server, mirrors: &[&Server]) -> (Arc<RegistryBlob>, OriginStats) {
    let mirrors = mirrors.iter().map(|mirror| format!("http://{}", mirror.host));
    let config = RegistryConfig {
        backoff: Duration::from_millis(1),
        mirrors: [(server.host.clone(), mirrors.collect())].into(),
        ..RegistryConfig::default()
    };
    let origin = RegistryOrigin::new(config, Arc::new(Anonymous), Inflater::default()).unwrap();
    let layer = LayerDescriptor::new(Digest::sha256_of(&bytes()))
        .with_size(bytes().len() as u64)
        .with_repository(format!("{}/team/app", server.host));
    let blob = origin.open_blob(&layer).await.unwrap().expect("it has the blob");
    (blob, origin.stats())
}

/// The ranges that the server was asked for.
fn ranges(server: &Server) -> Vec<String> {
    let seen = server.seen();
    seen.iter().filter_map(Seen::range).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_range_is_fetched_and_nothing_else() {
    let server = Server::start(ranged).await;
    let (blob, stats) = blob_at(&server, &[]).await;
    for range in [0..1, 10..2010, 99_990..100_000, 0..100_000] {
        let expected = &bytes()[range.start as usize..range.end as usize];
        let before = stats.bytes();
        let fetched = Arc::clone(&blob).fetch(range.clone()).await.unwrap();
        assert_eq!(fetched.unwrap(), expected, "{range:?}");
        assert_eq!(stats.bytes() - before, range.end - range.start);
    }
    assert_eq!(ranges(&server)[1], "bytes=10-2009");
    assert_eq!(
        Arc::clone(&blob).fetch(7..7).await.unwrap().unwrap(),
        Bytes::new()
    );
    for wrong in [0..100_001, 100_001..100_002, 0..MAX_FETCH_LEN + 1] {
        let error = Arc::clone(&blob).fetch(wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert_eq!(ranges(&server).len(), 4);
    let pieces: Vec<_> = blob.stream().try_collect().await.unwrap();
    assert_eq!(pieces.concat(), bytes());
}

#[tokio::test]
async fn a_range_that_is_cut_goes_on_where_it_was() {
    let server = Server::start(|request| match request.before {
        0 => ranged(request),
        1 => status(503),
        2 => {
            let mut response = cut(&bytes()[10..5010], 50_000);
            *response.status_mut() = axum::http::StatusCode::PARTIAL_CONTENT;
            let range = "bytes 10-50009/100000".parse().unwrap();
            response.headers_mut().insert("content-range", range);
            response
        }
        _ => ranged(request),
    })
    .await;
    let (blob, _) = blob_at(&server, &[]).await;
    assert_eq!(
        blob.fetch(10..50_010).await.unwrap().unwrap(),
        bytes()[10..50_010]
    );
    let asked = ranges(&server);
    assert_eq!(asked, ["bytes=10-50009", "bytes=10-50009", "bytes=5010-50009"]);
}

#[tokio::test]
async fn a_server_that_serves_other_bytes_than_the_range_serves_none() {
    let ignores: fn(&Seen) -> Response = |_| with(200, &[], bytes());
    let refuses: fn(&Seen) -> Response = |request| match request.range() {
        Some(_) => status(416),
        None => with(200, &[], bytes()),
    };
    let answers_another: fn(&Seen) -> Response = |request| match request.range() {
        Some(_) => {
            let range = [("content-range", "bytes 11-21/100000")];
            with(206, &range, bytes()[11..=21].to_vec())
        }
        None => with(200, &[], bytes()),
    };
    let says_nothing: fn(&Seen) -> Response = |request| match request.range() {
        Some(_) => with(206, &[], bytes()[10..20].to_vec()),
        None => with(200, &[], bytes()),
    };
    for answer in [ignores, refuses, answers_another, says_nothing] {
        let server = Server::start(answer).await;
        let (blob, stats) = blob_at(&server, &[]).await;
        assert!(Arc::clone(&blob).fetch(10..20).await.unwrap().is_none());
        assert_eq!((ranges(&server).len(), stats.bytes()), (1, 0));
        // It is not asked again.
        assert!(Arc::clone(&blob).fetch(30..40).await.unwrap().is_none());
        assert_eq!(ranges(&server).len(), 1);
        let pieces: Vec<_> = blob.stream().try_collect().await.unwrap();
        assert_eq!(pieces.concat(), bytes());
    }
}

#[tokio::test]
async fn a_range_is_fetched_where_ranges_are_served() {
    let mirror = Server::start(|_| with(200, &[], bytes())).await;
    let server = Server::start(ranged).await;
    let (blob, _) = blob_at(&server, &[&mirror]).await;
    assert_eq!(blob.fetch(10..20).await.unwrap().unwrap(), bytes()[10..20]);
    assert_eq!((ranges(&mirror).len(), ranges(&server).len()), (1, 1));
}

#[tokio::test]
async fn a_range_that_cannot_be_had_is_an_error() {
    for (code, kind) in [
        (403, ErrorKind::Permanent),
        (404, ErrorKind::Unavailable),
        (500, ErrorKind::Unavailable),
    ] {
        let server = Server::start(move |request| match request.before {
            0 => ranged(request),
            _ => status(code),
        })
        .await;
        let (blob, _) = blob_at(&server, &[]).await;
        assert_eq!(blob.fetch(10..20).await.unwrap_err().kind(), kind, "{code}");
    }
}

#[tokio::test]
async fn a_server_that_sends_more_than_the_range_is_caught() {
    let server = Server::start(|request| match request.range() {
        Some(_) => {
            let range = [("content-range", "bytes 10-19/100000")];
            with(206, &range, bytes()[10..30].to_vec())
        }
        None => with(200, &[], bytes()),
    })
    .await;
    let (blob, _) = blob_at(&server, &[]).await;
    let error = blob.fetch(10..20).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("more than it was asked for"), "{error}");
}

//! Uploads: whatever becomes of a writer, nothing half written stays.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use axum::http::{Method, StatusCode};
use cache_core::{ErrorKind, LayerSource, Tier};

use crate::front::{Front, Seen, Verdict};
use crate::support::{
    Layer, PART, Raw, claim, fill, hasty_at, open, prefix, read_all, server, tier_at, try_fill, write,
};

#[tokio::test]
async fn a_writer_that_is_dropped_or_aborted_leaves_nothing() {
    for abort in [false, true] {
        for len in [100, PART, 3 * PART] {
            let front = Front::watch(server()).await;
            let prefix = prefix();
            let tier = tier_at(front.address, &prefix);
            let layer = Layer::new(1, len);
            let mut writer = claim(&tier, &layer).await;
            write(&mut *writer, &layer).await.unwrap();
            if abort {
                writer.abort().await.unwrap();
            } else {
                drop(writer);
                front.wait_for_uploads_to_end().await;
            }
            let expected = usize::from(len > PART);
            assert_eq!(front.count(Seen::begins_upload), expected);
            assert_eq!(
                front.count(|seen| seen.aborts_upload() && seen.succeeded()),
                expected
            );
            assert!(Raw::new(&prefix).names().await.is_empty());
            assert!(tier.open(&layer.descriptor).await.unwrap().is_none());
        }
    }
}

#[tokio::test]
async fn a_write_that_is_cancelled_ends_the_upload() {
    // In the middle of the request that begins it, and of one that carries a part.
    for stop in [Seen::begins_upload, Seen::is_part] {
        let front = Front::start(server(), move |seen| match seen.is_part() {
            true => Verdict::Hang,
            false => Verdict::Pass,
        })
        .await;
        let tier = tier_at(front.address, &prefix());
        let layer = Layer::new(1, 6 * PART);
        let mut writer = claim(&tier, &layer).await;
        tokio::select! {
            written = write(&mut *writer, &layer) => panic!("{written:?}"),
            () = front.wait_for(|log| log.iter().any(stop)) => {}
        }
        assert_eq!(
            writer.write("more".into()).await.unwrap_err().kind(),
            ErrorKind::Unavailable
        );
        drop(writer);
        front
            .wait_for(|log| log.iter().any(|seen| seen.aborts_upload() && seen.succeeded()))
            .await;
    }
}

#[tokio::test]
async fn of_writers_that_race_each_may_win_and_nothing_is_left_of_the_others() {
    let front = Front::watch(server()).await;
    let prefix = prefix();
    let (one, other) = (tier_at(front.address, &prefix), tier_at(front.address, &prefix));
    let layer = Layer::new(1, 2 * PART + 3);
    let (mut first, mut second) = (claim(&one, &layer).await, claim(&other, &layer).await);
    tokio::try_join!(write(&mut *first, &layer), write(&mut *second, &layer)).unwrap();
    let (first, second) = tokio::join!(first.commit(&layer.index), second.commit(&layer.index));
    for reader in [first.unwrap(), second.unwrap()] {
        assert_eq!(reader.len(), Some(layer.index.len()));
    }
    assert!(read_all(&open(&one, &layer).await).await.unwrap() == layer.bytes);
    front.wait_for_uploads_to_end().await;
    assert_eq!(Raw::new(&prefix).names().await.len(), 2);
}

#[tokio::test]
async fn a_writer_that_comes_late_does_not_replace_what_is_read() {
    let front = Front::watch(server()).await;
    let tier = tier_at(front.address, &prefix());
    let layer = Layer::new(1, 2 * PART);
    let mut late = claim(&tier, &layer).await;
    write(&mut *late, &layer).await.unwrap();
    fill(&tier, &layer).await;
    let puts = |seen: &Seen| seen.completes_upload() || (seen.method == Method::PUT && seen.is_index());
    assert_eq!(front.count(puts), 2);
    let reader = late.commit(&layer.index).await.unwrap();
    assert_eq!(reader.len(), Some(layer.index.len()));
    assert_eq!(front.count(puts), 2);
    front.wait_for_uploads_to_end().await;
}

#[tokio::test]
async fn a_commit_that_fails_leaves_nothing() {
    let broken = || Verdict::Answer(StatusCode::OK, "<Error><Code>InternalError</Code></Error>");
    let down = || Verdict::Answer(StatusCode::INTERNAL_SERVER_ERROR, "");
    type Case = (fn(&Seen) -> bool, fn() -> Verdict);
    let cases: [Case; 4] = [
        (Seen::completes_upload, broken),
        (Seen::completes_upload, down),
        (Seen::is_part, down),
        (|seen| seen.is_index() && seen.method == Method::PUT, down),
    ];
    for (which, verdict) in cases {
        let front = Front::start(server(), move |seen| match which(seen) {
            true => verdict(),
            false => Verdict::Pass,
        })
        .await;
        let prefix = prefix();
        let tier = tier_at(front.address, &prefix);
        let layer = Layer::new(1, PART + 1);
        let error = try_fill(&tier, &layer).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!((error.tier(), error.layer()), (Some("s3"), Some(layer.digest())));
        front.wait_for_uploads_to_end().await;
        assert!(tier.open(&layer.descriptor).await.unwrap().is_none());
        assert!(Raw::new(&prefix).names().await.is_empty());
    }
}

#[tokio::test]
async fn an_index_of_other_bytes_is_not_committed() {
    let prefix = prefix();
    let tier = tier_at(server(), &prefix);
    let (layer, other, longer) = (Layer::new(1, 100), Layer::new(2, 100), Layer::new(1, 101));
    for index in [&other.index, &longer.index] {
        let mut writer = claim(&tier, &layer).await;
        write(&mut *writer, &layer).await.unwrap();
        assert_eq!(writer.commit(index).await.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    assert!(Raw::new(&prefix).names().await.is_empty());
}

/// Starts a future and drops it before it is done.
fn start(future: impl Future) {
    let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending));
}

#[tokio::test]
async fn a_commit_or_a_removal_that_is_cancelled_is_not_half_done() {
    let front = Front::watch(server()).await;
    let prefix = prefix();
    let tier = tier_at(front.address, &prefix);
    let layer = Layer::new(1, PART + 1);
    let mut writer = claim(&tier, &layer).await;
    write(&mut *writer, &layer).await.unwrap();
    start(writer.commit(&layer.index));
    let put = |seen: &Seen| seen.is_index() && seen.method == Method::PUT && seen.succeeded();
    front.wait_for(|log| log.iter().any(put)).await;
    assert!(read_all(&open(&tier, &layer).await).await.unwrap() == layer.bytes);

    start(tier.remove(layer.digest()));
    let deleted = |seen: &Seen| !seen.is_index() && seen.method == Method::DELETE && seen.succeeded();
    front.wait_for(|log| log.iter().any(deleted)).await;
    assert!(Raw::new(&prefix).names().await.is_empty());
}

#[tokio::test]
async fn uploads_that_killed_workers_have_left_are_aborted() {
    let prefix = prefix();
    let layer = Layer::new(1, 10);
    let key = format!("{prefix}clip:oci:layer:decompressed:{}", layer.digest());
    let now: aws_sdk_s3::primitives::DateTime = SystemTime::now().into();
    let now = now.fmt(aws_sdk_s3::primitives::DateTimeFormat::DateTime).unwrap();
    let upload = |key: &str, id: &str, begun: &str| {
        format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{begun}</Initiated></Upload>")
    };
    let page = format!(
        "<?xml version=\"1.0\"?><ListMultipartUploadsResult>{}{}{}</ListMultipartUploadsResult>",
        upload(&key, "fresh", &now),
        upload("a-stranger", "foreign", "2020-01-01T00:00:00Z"),
        upload(&key, "abandoned", "2020-01-01T00:00:00Z"),
    );
    let page: &'static str = page.leak();
    let front = Front::start(server(), move |seen| match () {
        () if seen.lists_uploads() => Verdict::Answer(StatusCode::OK, page),
        () if seen.aborts_upload() => Verdict::Answer(StatusCode::NO_CONTENT, ""),
        () => Verdict::Pass,
    })
    .await;
    let tier = tier_at(front.address, &prefix);
    drop(claim(&tier, &layer).await);
    // They are gone through in order: by now the others were passed over.
    front
        .wait_for(|log| log.iter().any(|seen| seen.target.contains("uploadId=abandoned")))
        .await;
    assert_eq!(front.count(Seen::aborts_upload), 1);
    drop(claim(&tier, &Layer::new(2, 10)).await);
    assert_eq!(front.count(Seen::lists_uploads), 1);
}

#[tokio::test]
async fn writers_that_get_no_part_through_end_and_so_do_those_that_wait_for_them() {
    let front = Front::start(server(), |seen| match seen.is_part() {
        true => Verdict::Hang,
        false => Verdict::Pass,
    })
    .await;
    let tier = hasty_at(front.address, &prefix());
    let fills = (0..6).map(|seed| {
        let tier = tier.clone();
        async move { try_fill(&tier, &Layer::new(seed, 3 * PART)).await }
    });
    for filled in futures_util::future::join_all(fills).await {
        assert_eq!(filled.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    front.wait_for_uploads_to_end().await;
}

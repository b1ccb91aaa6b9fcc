//! A server that is down, slow or refuses: an error that says which, in bounded time, and never an absence.

use axum::http::{Method, StatusCode};
use cache_core::{ErrorKind, LayerReaderExt, LayerSource, Tier};
use cache_remote_s3::{S3Config, S3Tier};
use cache_testkit::{Fault, FaultProxy};
use futures_util::StreamExt;

use crate::front::{Front, Verdict};
use crate::support::{
    CHUNK, Layer, PART, config_at, env, fill, hasty_at, open, prefix, server, tier_at, try_fill,
};

/// Every operation of a tier that cannot get through.
async fn kinds(tier: &S3Tier) -> Vec<ErrorKind> {
    let layer = Layer::new(1, 10);
    let opened = tier.open(&layer.descriptor).await.unwrap_err();
    let created = tier.create(&layer.descriptor).await.unwrap_err();
    let removed = tier.remove(layer.digest()).await.unwrap_err();
    let listed = tier.list().next().await.unwrap().unwrap_err();
    let checked = tier.check().await.unwrap_err();
    let errors = [opened, created, removed, listed, checked];
    for error in &errors {
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains(&env("SECRET_ACCESS_KEY")) && !text.contains("not-the-secret"),
            "{text}"
        );
        assert_eq!(error.tier(), Some("s3"));
    }
    errors.iter().map(cache_core::Error::kind).collect()
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unavailable() {
    for fault in [Fault::Stall, Fault::Refuse, Fault::Reset, Fault::CutAfter(10)] {
        let proxy = FaultProxy::start(server()).await;
        let tier = hasty_at(proxy.address(), &prefix());
        proxy.set(fault.clone());
        assert_eq!(kinds(&tier).await, [ErrorKind::Unavailable; 5], "{fault:?}");
        proxy.set(Fault::None);
        assert!(tier.check().await.is_ok(), "it comes back");
    }
}

#[tokio::test]
async fn a_server_that_is_in_trouble_is_unavailable() {
    for (status, body) in [
        (500, "<Error><Code>InternalError</Code></Error>"),
        (503, "<Error><Code>SlowDown</Code></Error>"),
        (502, "<html>a gateway"),
        (429, ""),
        (404, "<html>not an answer of S3"),
        (200, "<Err"),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let layer = Layer::new(1, 10);
        let front = Front::start(server(), move |seen| match seen.method {
            Method::GET => Verdict::Answer(status, body),
            _ => Verdict::Pass,
        })
        .await;
        let tier = tier_at(front.address, &prefix());
        let found = tier.open(&layer.descriptor).await;
        match status.as_u16() {
            // It was taken for an index.
            200 => assert!(found.is_ok_and(|found| found.is_none())),
            _ => assert_eq!(found.unwrap_err().kind(), ErrorKind::Unavailable, "{status}"),
        }
        if status != StatusCode::NOT_FOUND {
            let listed = tier.list().next().await.unwrap().unwrap_err();
            assert_eq!(listed.kind(), ErrorKind::Unavailable, "{status}");
        }
    }
}

#[tokio::test]
async fn an_index_that_is_cut_on_the_way_is_asked_for_again_and_is_not_taken_for_damaged() {
    for (cuts, expected) in [(1, Ok(())), (usize::MAX, Err(ErrorKind::Unavailable))] {
        let cut = std::sync::atomic::AtomicUsize::new(0);
        let front = Front::start(server(), move |seen| {
            let gets_index = seen.is_index() && seen.method == Method::GET;
            match gets_index && cut.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < cuts {
                true => Verdict::Cut(50),
                false => Verdict::Pass,
            }
        })
        .await;
        let prefix = prefix();
        let layer = Layer::new(1, 10);
        fill(&tier_at(server(), &prefix), &layer).await;
        let found = tier_at(front.address, &prefix).open(&layer.descriptor).await;
        let found = found.map(|found| assert!(found.is_some()));
        assert_eq!(found.map_err(|error| error.kind()), expected);
    }
}

#[tokio::test]
async fn a_few_refusals_are_waited_out() {
    let layer = Layer::new(1, PART + 1);
    let refused = std::sync::Mutex::new(std::collections::HashSet::new());
    let front = Front::start(server(), move |seen| {
        let first = refused
            .lock()
            .unwrap()
            .insert((seen.method.clone(), seen.target.clone()));
        match first {
            true => Verdict::Answer(
                StatusCode::SERVICE_UNAVAILABLE,
                "<Error><Code>SlowDown</Code></Error>",
            ),
            false => Verdict::Pass,
        }
    })
    .await;
    let reader = fill(&tier_at(front.address, &prefix()), &layer).await;
    assert_eq!(reader.read_bytes(5, 10).await.unwrap(), layer.bytes[5..15]);
}

#[tokio::test]
async fn a_server_that_stalls_in_the_middle_of_a_read_or_a_write_is_unavailable() {
    let proxy = FaultProxy::start(server()).await;
    let prefix = prefix();
    let layer = Layer::new(1, 4 * CHUNK);
    fill(&tier_at(server(), &prefix), &layer).await;
    let tier = hasty_at(proxy.address(), &prefix);
    let reader = open(&tier, &layer).await;
    proxy.set(Fault::Stall);
    assert_eq!(
        reader.read_bytes(0, 10).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    proxy.set(Fault::None);
    assert_eq!(reader.read_bytes(0, 10).await.unwrap(), layer.bytes[..10]);

    let front = Front::start(server(), |seen| match seen.is_part() {
        true => Verdict::Hang,
        false => Verdict::Pass,
    })
    .await;
    let long = Layer::new(2, 4 * PART);
    let error = try_fill(&hasty_at(front.address, &prefix), &long)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    front.wait_for_uploads_to_end().await;
}

#[tokio::test]
async fn wrong_credentials_and_a_missing_bucket_have_to_be_mended() {
    let prefix = prefix();
    let wrong = config_at(server(), &prefix).with_credentials(env("ACCESS_KEY_ID"), "not-the-secret".into());
    let unknown = config_at(server(), &prefix).with_credentials("unknown".into(), "not-the-secret".into());
    for config in [wrong, unknown] {
        assert_eq!(
            kinds(&S3Tier::new(config).unwrap()).await,
            [ErrorKind::Permanent; 5]
        );
    }
    let nowhere = S3Config::new("there-is-no-such-bucket")
        .with_endpoint(Some(env("ENDPOINT")))
        .with_region(Some(env("REGION")))
        .with_credentials(env("ACCESS_KEY_ID"), env("SECRET_ACCESS_KEY"));
    let nowhere = S3Tier::new(nowhere).unwrap();
    // Some servers deny what they do not have.
    assert_eq!(nowhere.check().await.unwrap_err().kind(), ErrorKind::Permanent);

    // s3s-fs has no word for a missing bucket when it is asked for an object.
    let front = Front::start(server(), |seen| match seen.method {
        Method::GET => Verdict::Answer(StatusCode::NOT_FOUND, "<Error><Code>NoSuchBucket</Code></Error>"),
        _ => Verdict::Answer(StatusCode::NOT_FOUND, ""),
    })
    .await;
    let layer = Layer::new(1, 10);
    let error = tier_at(front.address, &prefix)
        .open(&layer.descriptor)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert!(error.message().contains("no such bucket"), "{error}");
}

#[tokio::test]
async fn a_tier_that_works_says_so() {
    tier_at(server(), &prefix()).check().await.unwrap();
}

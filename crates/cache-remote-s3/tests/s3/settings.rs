//! Settings that cannot work are refused, and secrets are not shown.

use std::time::Duration;

use cache_core::ErrorKind;
use cache_core::index::Seal;
use cache_remote_s3::{S3Config, S3Tier};

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let good = || S3Config::new("layers").with_credentials("key".into(), "secret".into());
    assert!(S3Tier::new(good()).is_ok());
    for bad in [
        S3Config::new(""),
        S3Config::new("no spaces"),
        good().with_endpoint(Some("127.0.0.1:9000".into())),
        good().with_endpoint(Some("http://".into())),
        good().with_endpoint(Some("http://key:secret-in-url@host".into())),
        good().with_endpoint(Some("http://host/?a=b".into())),
        good().with_region(Some(String::new())),
        good().with_prefix("/".into()),
        good().with_prefix("x".repeat(1000)),
        good().with_credentials(String::new(), "secret".into()),
        good().with_credentials("key".into(), "sec\nret".into()),
        good().with_timeout(Duration::ZERO),
        good().with_max_layer_bytes(0),
        good().with_max_layer_bytes(u64::MAX),
    ] {
        let error = S3Tier::new(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert_eq!(error.tier(), Some("s3"));
        assert!(!error.to_string().contains("secret-in-url"), "{error}");
    }
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let config = S3Config::new("layers")
        .with_endpoint(Some("http://127.0.0.1:1".into()))
        .with_credentials("the-key-id".into(), "hush-hush".into())
        .with_seal(Seal::keyed(b"hush-hush-and-long").unwrap());
    let in_url = S3Config::new("layers").with_endpoint(Some("http://me:hush-hush@host".into()));
    let tier = S3Tier::new(config.clone().with_timeout(Duration::from_millis(200))).unwrap();
    tier.check().await.unwrap_err();
    for shown in [
        format!("{config:?}"),
        format!("{tier:?}"),
        format!("{tier:#?}"),
        format!("{in_url:?}"),
    ] {
        assert!(shown.contains("layers") && !shown.contains("hush"), "{shown}");
    }
}

//! Settings that are wrong, and secrets that stay secret.

use cache_core::{ErrorKind, Tier};
use cache_remote_redis::{RedisConfig, RedisTier};
use cache_testkit::RedisServer;

use crate::support::*;

#[test]
fn settings_that_cannot_be_right_are_refused_without_repeating_the_password() {
    let none: [&str; 0] = [];
    let refused = [
        RedisConfig::new(none),
        RedisConfig::new(["s3cret"]),
        RedisConfig::new(["http://:s3cret@host"]),
        RedisConfig::new(["unix:///run/s3cret"]),
        RedisConfig::new(["redis://user:s3cret@"]),
        RedisConfig::new(["redis://user:s3cret@host:port"]),
        RedisConfig::new(["redis://user:s3/cret@host"]),
        RedisConfig::new(["redis://user:s3cret@host/database"]),
        RedisConfig::new(["rediss://user:s3cret@host/#insecure"]),
        RedisConfig::new(["redis://:s3cret@a", "redis://:s3cret2@b"]),
        RedisConfig::new(["redis://:s3cret@a", "rediss://:s3cret@b"]),
        RedisConfig::new(["rediss://:s3cret@a"]).with_ca_certificate(Some(b"no PEM".to_vec())),
        RedisConfig::new(["redis://:s3cret@a"]).with_max_layer_bytes(u64::MAX),
    ];
    for config in refused {
        let error = RedisTier::new(config.clone()).expect_err(&format!("{config:?}"));
        assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
        for shown in [error.to_string(), format!("{error:?}"), format!("{config:?}")] {
            assert!(!shown.contains("s3"), "{shown}");
        }
    }
    let tier = tier(RedisConfig::new(["redis://user:s3cret@host"]));
    assert!(!format!("{tier:?}").contains("s3cret"));
}

#[tokio::test]
async fn every_deployment_gives_a_sign_of_life() {
    for config in deployments() {
        tier(config).check().await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_for_good() {
    let url = env("LAYERCACHE_TEST_REDIS_TLS");
    let (scheme, rest) = url.split_once("://").unwrap();
    let host = rest.rsplit_once('@').unwrap().1;
    for credentials in ["nobody:wr0ng@", ""] {
        let config = config([format!("{scheme}://{credentials}{host}")]).with_ca_certificate(Some(ca()));
        let error = tier(config).check().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
        assert!(!format!("{error:?}").contains("wr0ng"), "{error:?}");
        assert_eq!(error.tier(), Some("redis"));
    }
}

#[tokio::test]
async fn a_cluster_that_refuses_the_password_refuses_for_good() {
    let server = RedisServer::start(&["--requirepass", "r1ght", "--cluster-enabled", "yes"]);
    let url = server.url().replace("//", "//:wr0ng@");
    let error = tier(config([url.clone(), url])).check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(!format!("{error:?}").contains("wr0ng"), "{error:?}");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_not_accepted() {
    let config = crate::support::config([env("LAYERCACHE_TEST_REDIS_TLS")]);
    let error = tier(config).check().await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn what_the_user_may_not_do_is_refused_for_good() {
    let server = RedisServer::start(&[]);
    let raw = raw(&server.url()).await;
    raw.run::<()>(&[
        &"ACL",
        &"SETUSER",
        &"reader",
        &"on",
        &">pass",
        &"~*",
        &"+@read",
        &"+@connection",
    ])
    .await;
    let tier = tier(config([server.url().replace("//", "//reader:pass@")]));
    let layer = Layer::random(CHUNK + 1);
    assert!(layer.open(&tier).await.unwrap().is_none());
    let error = layer.try_put(&tier).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert_eq!(kind(tier.remove(layer.digest()).await), ErrorKind::Permanent);

    raw.run::<()>(&[&"CONFIG", &"SET", &"min-replicas-to-write", &"1"])
        .await;
    let tier = crate::support::tier(config([server.url()]));
    assert_eq!(kind(layer.try_put(&tier).await), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_replica_is_refused_for_good() {
    let server = RedisServer::start(&["--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "yes"]);
    let tier = tier(config([server.url()]));
    let layer = Layer::random(CHUNK);
    assert!(layer.open(&tier).await.unwrap().is_none());
    assert_eq!(kind(layer.try_put(&tier).await), ErrorKind::Permanent);
}

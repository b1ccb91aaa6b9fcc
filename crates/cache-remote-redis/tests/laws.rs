//! The laws of tiers, for the Redis tier of every deployment: a server alone, a cluster, and a server behind TLS.

use cache_remote_redis::{RedisConfig, RedisTier};
use cache_testkit::laws::TierSubject;
use cache_testkit::tier_laws;

fn env(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run this test through `cargo xtask test`"))
}

fn redis(config: RedisConfig) -> TierSubject {
    let open = move || RedisTier::new(config.clone()).unwrap();
    TierSubject::new(open()).reopened_by(move || std::future::ready(open()))
}

tier_laws!(durable alone, || async { redis(RedisConfig::new([env("LAYERCACHE_TEST_REDIS")])) });
tier_laws!(durable cluster, || async {
    redis(RedisConfig::new(env("LAYERCACHE_TEST_REDIS_CLUSTER").split(',')))
});
tier_laws!(durable tls, || async {
    let ca = std::fs::read(env("LAYERCACHE_TEST_REDIS_CA")).unwrap();
    redis(RedisConfig::new([env("LAYERCACHE_TEST_REDIS_TLS")]).with_ca_certificate(Some(ca)))
});

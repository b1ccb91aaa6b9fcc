//! The laws of tiers and of leases, for the Redis tier of every deployment: a server alone, a cluster, and a server behind TLS.

use cache_remote_redis::{RedisConfig, RedisTier};
use cache_testkit::laws::{LeaseSubject, TierSubject};
use cache_testkit::{lease_laws, tier_laws};

fn env(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run this test through `cargo xtask test`"))
}

fn redis(config: RedisConfig) -> TierSubject {
    let open = move || RedisTier::new(config.clone()).unwrap();
    TierSubject::new(open()).reopened_by(move || std::future::ready(open()))
}

fn leases(config: RedisConfig) -> LeaseSubject {
    LeaseSubject::new(move |lifetime| {
        let config = config.clone().with_lease_lifetime(lifetime);
        RedisTier::new(config).unwrap().leases()
    })
}

fn alone() -> RedisConfig {
    RedisConfig::new([env("LAYERCACHE_TEST_REDIS")])
}

fn cluster() -> RedisConfig {
    RedisConfig::new(env("LAYERCACHE_TEST_REDIS_CLUSTER").split(','))
}

fn tls() -> RedisConfig {
    let ca = std::fs::read(env("LAYERCACHE_TEST_REDIS_CA")).unwrap();
    RedisConfig::new([env("LAYERCACHE_TEST_REDIS_TLS")]).with_ca_certificate(Some(ca))
}

tier_laws!(durable tier_alone, || async { redis(alone()) });
tier_laws!(durable tier_of_a_cluster, || async { redis(cluster()) });
tier_laws!(durable tier_behind_tls, || async { redis(tls()) });

lease_laws!(leases_alone, || async { leases(alone()) });
lease_laws!(leases_of_a_cluster, || async { leases(cluster()) });
lease_laws!(leases_behind_tls, || async { leases(tls()) });

//! A real image that one worker has pulled, read by others from what it has published.

use cache_testkit::RedisServer;

use super::relay::Relay;
use super::share::{REGISTRY, disk, prefix, redis, s3};
use crate::environment::open_registry;
use crate::oracle::Oracle;
use crate::real_image::reads_like_the_oracle;
use crate::sandbox::Sandbox;

/// What a worker that pulls a layer of half a gigabyte through all tiers may have in memory at most: 13 MiB on the heap, 10 MiB of parts
/// for S3, about 16 MiB of code, and what the allocator keeps for itself, which differs from run to run by several MiB.
const MAX_RSS: u64 = 56 << 20;

#[test]
fn what_one_worker_has_pulled_others_read_without_the_registry() {
    let relay = Relay::start(&open_registry());
    let image = relay.debian("gzip");
    let server = RedisServer::start(&[]);
    let (redis, s3) = (redis(&server.url()), s3(&prefix()));

    let first = Sandbox::new();
    let config = first.write("config.toml", disk(&first, "disk") + &redis + &s3 + REGISTRY);
    let pulled = first.succeed(["pull", &image, "--config", config.to_str().unwrap()]);
    assert_eq!(pulled.inflates(), 3);
    for tier in ["disk", "redis", "s3"] {
        assert_eq!(pulled.stats["tiers"][tier]["filled_layers"], 3, "{tier}");
    }
    let rss = pulled.stats["peak_rss_bytes"].as_u64().unwrap();
    assert!(rss < MAX_RSS, "{rss} bytes");

    let inspected = first.succeed(["inspect", "--json", &image]).json();
    let layers = inspected["layers"].as_array().unwrap();
    let digests: Vec<_> = layers
        .iter()
        .map(|layer| layer["digest"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(digests.len(), 3);
    relay.refuse(&digests);
    let oracle = Oracle::load("oracle.tsv");
    for shared in [&redis, &s3] {
        let other = Sandbox::new();
        let config = other.write("config.toml", disk(&other, "disk") + shared + REGISTRY);
        reads_like_the_oracle(
            &other,
            &["--config", config.to_str().unwrap()],
            &image,
            &oracle,
            0,
        );
    }
    let fetches: Vec<_> = digests.iter().map(|digest| relay.fetches(digest)).collect();
    assert_eq!(fetches, [0, 0, 0]);
}

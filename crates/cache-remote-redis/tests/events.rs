//! The events that operators grep for. Alone in its binary: it has a subscriber for all of its process.

use bytes::Bytes;
use cache_core::index::IndexBuilder;
use cache_core::{Algorithm, Claim, Digest, LayerDescriptor, LayerSource, Tier};
use cache_remote_redis::{RedisConfig, RedisTier};
use cache_testkit::{Log, RedisServer};

#[tokio::test]
async fn what_operators_grep_for_is_said_once_and_with_its_fields() {
    let log = Log::listen("debug");

    let mut server = RedisServer::start(&[]);
    let tier = RedisTier::new(RedisConfig::new([server.url()]).with_name("shared")).unwrap();
    let mut builder = IndexBuilder::new(Algorithm::Sha256);
    builder.update(&[7; 1000]);
    let index = builder.finish(Digest::sha256_of(b"blob"));
    let layer = LayerDescriptor::new(*index.digest()).with_diff_id(*index.diff_id());
    assert!(tier.open(&layer).await.unwrap().is_none());
    let Claim::Write(mut writer) = tier.create(&layer).await.unwrap() else {
        panic!("not there yet")
    };
    writer.write(Bytes::from(vec![7; 1000])).await.unwrap();
    writer.commit(&index).await.unwrap();
    assert!(tier.open(&layer).await.unwrap().is_some());
    server.kill();
    assert!(tier.open(&layer).await.is_err());

    let digest = format!("digest={}", layer.digest);
    for (message, fields) in [
        (
            "cached decompressed layer to remote cache",
            ["INFO", "bytes=1000"],
        ),
        ("remote cache hit", ["DEBUG", "bytes=1000"]),
        ("remote cache lookup error", ["DEBUG", "error=shared: open"]),
    ] {
        let line = log.line(message);
        for field in fields.into_iter().chain([&*digest, "tier=shared"]) {
            assert!(line.contains(field), "{field} is not in {line}");
        }
    }
}

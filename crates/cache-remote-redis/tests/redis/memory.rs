//! A Redis without memory.

use cache_core::{ErrorKind, Tier};
use cache_testkit::RedisServer;

use crate::support::*;

#[tokio::test]
async fn a_full_server_refuses_and_keeps_nothing_of_the_layer() {
    let server = RedisServer::start(&["--maxmemory", "8mb", "--maxmemory-policy", "noeviction"]);
    let (tier, raw) = (tier(config([server.url()])), raw(&server.url()).await);
    let (small, large) = (Layer::random(CHUNK), Layer::random(24 * CHUNK));
    small.put(&tier).await;
    let error = large.try_put(&tier).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("memory is full"), "{error}");
    no_key_is_left(&raw, &large).await;
    // It was full for a while, and takes layers again.
    assert!(small.is_right_in(&tier).await.unwrap());
    Layer::random(CHUNK).put(&tier).await;
}

#[tokio::test]
async fn a_server_that_evicts_makes_layers_misses() {
    let server = RedisServer::start(&["--maxmemory", "12mb", "--maxmemory-policy", "allkeys-lru"]);
    let tier = tier(config([server.url()]));
    let layers: Vec<Layer> = (0..12).map(|_| Layer::random(3 * CHUNK + 17)).collect();
    let mut committed = 0;
    for layer in &layers {
        match layer.try_put(&tier).await {
            Ok(_) => committed += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
        }
    }
    assert!(committed > 0);
    let mut right = 0;
    for layer in &layers {
        match layer.is_right_in(&tier).await {
            Ok(is_right) => right += usize::from(is_right),
            // Answers take memory, too: a layer may be evicted while it is read.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
        }
    }
    assert!(right < layers.len());

    // More than there is memory for.
    let large = Layer::random(64 * CHUNK);
    assert_eq!(kind(large.try_put(&tier).await), ErrorKind::Unavailable);
    assert!(large.open(&tier).await.unwrap().is_none());
    for layer in layers.iter().chain([&large]) {
        tier.remove(layer.digest()).await.unwrap();
    }
    eventually("no key is left", async || {
        raw(&server.url()).await.run::<u64>(&[&"DBSIZE"]).await == 0
    })
    .await;
}

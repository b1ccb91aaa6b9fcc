//! Layers that Redis is told to forget.

use std::time::Duration;

use crate::support::*;

#[tokio::test]
async fn the_index_goes_before_the_chunks() {
    let raw = Raw::one().await;
    let layer = Layer::random(2 * CHUNK + 1);
    let tier = tier(one().with_ttl(Some(Duration::from_secs(600))));
    layer.put(&tier).await;
    let index = raw.pttl(&layer.key("index")).await;
    assert!((1..=600_000).contains(&index), "{index}");
    for chunk in 0..3 {
        let left = raw.pttl(&layer.key(chunk)).await;
        assert!(left > index && left <= 660_000, "{left} {index}");
    }
    assert!(layer.is_right_in(&tier).await.unwrap());
    cache_core::Tier::remove(&tier, layer.digest()).await.unwrap();
}

#[tokio::test]
async fn an_expired_layer_is_a_miss_that_can_be_filled_again() {
    let raw = Raw::one().await;
    let layer = Layer::random(CHUNK + 1);
    let tier = tier(one().with_ttl(Some(Duration::from_millis(1))));
    layer.put(&tier).await;
    eventually("it expires", async || layer.open(&tier).await.unwrap().is_none()).await;
    // Its chunks go later, by themselves.
    for chunk in 0..2 {
        let left = raw.pttl(&layer.key(chunk)).await;
        assert!((1..=60_001).contains(&left), "{left}");
    }
    let lasting = crate::support::tier(one());
    layer.put(&lasting).await;
    assert!(layer.is_right_in(&lasting).await.unwrap());
    cache_core::Tier::remove(&lasting, layer.digest()).await.unwrap();
}

#[tokio::test]
async fn any_expiry_is_one_that_redis_takes() {
    for ttl in [Duration::ZERO, Duration::MAX] {
        let layer = Layer::random(CHUNK + 1);
        let tier = tier(one().with_ttl(Some(ttl)));
        layer.put(&tier).await;
        cache_core::Tier::remove(&tier, layer.digest()).await.unwrap();
    }
}

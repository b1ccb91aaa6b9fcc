//! What was written is read, wherever it is kept.

use cache_core::{LayerReaderExt, LayerSource, LayerStat, Tier};
use cache_testkit::FaultProxy;
use futures_util::TryStreamExt;

use crate::support::*;

#[tokio::test]
async fn layers_of_any_length_are_written_read_listed_and_removed() {
    for config in deployments() {
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 7] {
            let layer = Layer::random(len);
            // Another process.
            let (writing, reading) = (tier(config.clone()), tier(config.clone()));
            assert!(!layer.is_right_in(&reading).await.unwrap());
            layer.check(layer.try_put(&writing).await.unwrap()).await.unwrap();
            assert!(layer.is_right_in(&reading).await.unwrap());

            let listed: Vec<LayerStat> = reading.list().try_collect().await.unwrap();
            let listed: Vec<_> = listed
                .iter()
                .filter(|stat| stat.digest == *layer.digest())
                .collect();
            assert_eq!(listed, [&LayerStat::new(*layer.digest(), len as u64)]);

            assert!(reading.remove(layer.digest()).await.unwrap());
            assert!(!layer.is_right_in(&writing).await.unwrap());
            assert!(!reading.remove(layer.digest()).await.unwrap());
        }
    }
}

#[tokio::test]
async fn any_range_is_read() {
    for config in deployments() {
        let tier = tier(config);
        let layer = Layer::random(4 * CHUNK + 4321);
        layer.put(&tier).await;
        let reader = layer.open(&tier).await.unwrap().unwrap();
        for _ in 0..50 {
            let start = fastrand::usize(..layer.bytes.len() + 100);
            let len = fastrand::usize(..3 * CHUNK);
            let read = reader.read_bytes(start as u64, len).await.unwrap();
            let start = start.min(layer.bytes.len());
            assert!(read == layer.bytes[start..(start + len).min(layer.bytes.len())]);
        }
        tier.remove(layer.digest()).await.unwrap();
    }
}

#[tokio::test]
async fn the_store_holds_the_raw_layer_in_chunks_and_removal_leaves_no_key() {
    let (tier, raw) = (tier(one()), Raw::one().await);
    let layer = Layer::random(2 * CHUNK + 5);
    layer.put(&tier).await;
    let mut keys = raw.keys_of(layer.digest()).await;
    keys.sort();
    assert_eq!(
        keys,
        [layer.key(0), layer.key(1), layer.key(2), layer.key("index")]
    );
    let mut chunks = Vec::new();
    for key in &keys[..3] {
        chunks.extend(raw.run::<Vec<u8>>(&[&"GET", key]).await);
    }
    assert!(chunks == layer.bytes);
    assert!(raw.run::<Vec<u8>>(&[&"GET", &keys[3]]).await == layer.index.encode());

    tier.remove(layer.digest()).await.unwrap();
    assert_eq!(raw.keys_of(layer.digest()).await, [""; 0]);
}

#[tokio::test]
async fn the_chunks_of_a_layer_are_spread_over_the_nodes_of_a_cluster_and_all_are_removed() {
    let tier = tier(cluster());
    let layer = Layer::random(40 * CHUNK);
    layer.put(&tier).await;
    let nodes = || async {
        let mut nodes = Vec::new();
        for url in cluster_urls() {
            nodes.push(raw(&url).await.keys_of(layer.digest()).await.len());
        }
        nodes
    };
    let spread = nodes().await;
    assert_eq!(spread.iter().sum::<usize>(), 41);
    assert!(spread.iter().all(|&keys| keys > 0), "{spread:?}");
    assert!(layer.is_right_in(&tier).await.unwrap());
    assert!(tier.remove(layer.digest()).await.unwrap());
    assert_eq!(nodes().await, [0; 3]);
}

#[tokio::test]
async fn a_read_moves_the_chunks_it_touches_and_those_once() {
    let layer = Layer::random(8 * CHUNK);
    layer.put(&tier(one())).await;
    let proxy = FaultProxy::start(address()).await;
    let tier = tier(config([format!("redis://{}", proxy.address())]));
    let reader = layer.open(&tier).await.unwrap().unwrap();
    let opened = proxy.traffic().from_upstream;
    assert!(opened < 4096, "{opened}");

    let offset = 5 * CHUNK + 1234;
    for at in [offset, offset + 10_000, offset + 20_000] {
        let read = reader.read_bytes(at as u64, 4096).await.unwrap();
        assert!(read == layer.bytes[at..at + 4096]);
    }
    let moved = proxy.traffic().from_upstream - opened;
    assert!((CHUNK as u64..CHUNK as u64 + 4096).contains(&moved), "{moved}");
    tier.remove(layer.digest()).await.unwrap();
}

#[tokio::test]
async fn a_layer_that_is_incomplete_is_not_listed() {
    let (tier, raw) = (tier(one()), Raw::one().await);
    let (whole, half) = (Layer::random(2 * CHUNK), Layer::random(2 * CHUNK));
    whole.put(&tier).await;
    half.put(&tier).await;
    assert_eq!(raw.run::<u64>(&[&"UNLINK", &half.key(1)]).await, 1);
    let digests: Vec<_> = tier
        .list()
        .map_ok(|stat| stat.digest)
        .try_collect()
        .await
        .unwrap();
    assert!(digests.contains(whole.digest()) && !digests.contains(half.digest()));
    tier.remove(whole.digest()).await.unwrap();
    tier.remove(half.digest()).await.unwrap();
}

#[tokio::test]
async fn it_claims_what_it_can_do() {
    let tier = tier(one().with_name("shared"));
    let can = tier.capabilities();
    assert!(can.verified && can.list && !can.read_while_write);
    assert_eq!(tier.name(), "shared");
}

//! Servers and networks that fail in the middle of things.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{ErrorKind, LayerReaderExt, Tier};
use cache_remote_redis::RedisConfig;
use cache_testkit::{Fault, FaultProxy, RedisServer};
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt};

use crate::support::*;

/// A time-out that a test can wait for, and that a busy machine keeps.
fn at(address: SocketAddr) -> RedisConfig {
    RedisConfig::new([format!("redis://{address}")]).with_timeout(Duration::from_secs(3))
}

#[tokio::test]
async fn a_server_that_comes_up_later_is_used_then() {
    let mut server = RedisServer::start(&[]);
    server.kill();
    let (tier, layer) = (tier(at(server.address())), Layer::random(CHUNK + 1));
    assert_eq!(kind(tier.check().await), ErrorKind::Unavailable);
    assert_eq!(kind(layer.open(&tier).await), ErrorKind::Unavailable);
    assert_eq!(kind(tier.create(&layer.descriptor).await), ErrorKind::Unavailable);
    assert_eq!(kind(tier.remove(layer.digest()).await), ErrorKind::Unavailable);
    assert_eq!(
        kind(tier.list().try_collect::<Vec<_>>().await),
        ErrorKind::Unavailable
    );
    assert_eq!(
        kind(tier.leases().acquire(layer.digest()).await),
        ErrorKind::Unavailable
    );
    server.restart();
    tier.check().await.unwrap();
    layer.put(&tier).await;
    assert!(layer.is_right_in(&tier).await.unwrap());
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_of_a_stream_is_an_error_and_then_empty() {
    let mut server = RedisServer::start(&[]);
    let (tier, layer) = (tier(at(server.address())), Layer::random(40 * CHUNK));
    layer.put(&tier).await;
    let reader = layer.open(&tier).await.unwrap().unwrap();
    let mut stream = reader.clone().stream(0);
    let mut read = stream.next().await.unwrap().unwrap().to_vec();
    server.kill();
    let end = loop {
        match stream.next().await {
            Some(Ok(piece)) => read.extend_from_slice(&piece),
            end => break end,
        }
    };
    assert_eq!(kind(end.unwrap()), ErrorKind::Unavailable);
    assert!(read == layer.bytes[..read.len()]);
    assert_eq!(kind(layer.open(&tier).await), ErrorKind::Unavailable);

    server.restart();
    assert!(layer.open(&tier).await.unwrap().is_none());
    assert_eq!(kind(reader.read_bytes(0, 10).await), ErrorKind::Unavailable);
    layer.put(&tier).await;
    layer.check(reader).await.unwrap();
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_of_a_write_is_an_error() {
    let mut server = RedisServer::start(&[]);
    let (tier, layer) = (tier(at(server.address())), Layer::random(20 * CHUNK));
    let mut writer = layer.writer(&tier).await;
    writer.write(layer.bytes.slice(..5 * CHUNK)).await.unwrap();
    server.kill();
    let mut result = writer.write(layer.bytes.slice(5 * CHUNK..)).await;
    if result.is_ok() {
        result = writer.commit(&layer.index).await.map(drop);
    }
    assert_eq!(kind(result), ErrorKind::Unavailable);
    server.restart();
    layer.put(&tier).await;
    assert!(layer.is_right_in(&tier).await.unwrap());
}

/// The answers that come late belong to requests that nobody waits for any more, and to no other.
#[tokio::test]
async fn a_stalled_server_is_an_error_and_its_late_answers_confuse_nobody() {
    let server = RedisServer::start(&[]);
    let tier = tier(at(server.address()));
    let layers: Vec<Layer> = (1..4).map(|chunks| Layer::random(chunks * CHUNK)).collect();
    let mut readers = Vec::new();
    for layer in &layers {
        layer.put(&tier).await;
        readers.push(layer.open(&tier).await.unwrap().unwrap());
    }
    server.stall();
    let other = cache_core::Digest::sha256_of(b"other");
    let failures = layers.iter().zip(&readers).map(|(layer, reader)| {
        let tier = &tier;
        async move {
            let stream = Arc::clone(reader).stream(0).try_collect::<Vec<Bytes>>();
            let (opened, read, removed) = tokio::join!(layer.open(tier), stream, tier.remove(&other));
            [kind(opened), kind(read), kind(removed)]
        }
    });
    for failed in join_all(failures).await {
        assert_eq!(failed, [ErrorKind::Unavailable; 3]);
    }
    server.resume();
    for layer in layers.iter().rev() {
        assert!(layer.is_right_in(&tier).await.unwrap());
    }
    for (layer, reader) in layers.iter().zip(readers) {
        layer.check(reader).await.unwrap();
    }
}

#[tokio::test]
async fn a_network_that_stalls_is_an_error_and_then_recovers() {
    let layer = Layer::random(6 * CHUNK);
    layer.put(&tier(one())).await;
    let proxy = FaultProxy::start(address()).await;
    let tier = tier(at(proxy.address()));
    assert!(layer.is_right_in(&tier).await.unwrap());
    let reader = layer.open(&tier).await.unwrap().unwrap();
    proxy.set(Fault::Stall);
    assert_eq!(kind(layer.open(&tier).await), ErrorKind::Unavailable);
    assert_eq!(
        kind(reader.read_bytes(0, 4 * CHUNK).await),
        ErrorKind::Unavailable
    );
    // A peer that has vanished: what was connected stays silent for ever.
    proxy.set(Fault::Reset);
    assert_eq!(kind(layer.open(&tier).await), ErrorKind::Unavailable);
    proxy.set(Fault::None);
    layer.check(reader).await.unwrap();
    assert!(layer.is_right_in(&tier).await.unwrap());
    tier.remove(layer.digest()).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_cut_anywhere_gives_right_bytes_or_an_error() {
    let layer = Layer::random(6 * CHUNK);
    layer.put(&tier(one())).await;
    let proxy = FaultProxy::start(address()).await;
    let tier = tier(at(proxy.address()));
    for after in [
        0,
        1,
        10,
        100,
        1000,
        5000,
        100_000,
        CHUNK as u64,
        2 * CHUNK as u64 + 3,
    ] {
        proxy.set(Fault::CutAfter(after));
        match layer.is_right_in(&tier).await {
            Ok(right) => assert!(right),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
        proxy.set(Fault::None);
        // What still uses a connection that was cut notices first.
        eventually("it recovers", async || {
            layer.is_right_in(&tier).await.is_ok_and(|right| right)
        })
        .await;
    }
    tier.remove(layer.digest()).await.unwrap();
}

#[tokio::test]
async fn a_bit_that_flips_on_the_way_gives_right_bytes_or_an_error() {
    let layer = Layer::random(3 * CHUNK);
    layer.put(&tier(one())).await;
    let proxy = FaultProxy::start(address()).await;
    let tier = tier(at(proxy.address()));
    assert!(layer.is_right_in(&tier).await.unwrap());
    for _ in 0..12 {
        // It panics at a wrong byte; anything else may come of a flipped bit in the protocol.
        let at = if fastrand::bool() {
            fastrand::u64(..600)
        } else {
            fastrand::u64(..CHUNK as u64)
        };
        proxy.set(Fault::FlipBit { at });
        let _: cache_core::Result<bool> = layer.is_right_in(&tier).await;
    }
    proxy.set(Fault::None);
    eventually("it recovers", async || {
        layer.is_right_in(&tier).await.is_ok_and(|right| right)
    })
    .await;
    tier.remove(layer.digest()).await.unwrap();
}

#[tokio::test]
async fn a_write_over_a_connection_that_is_cut_commits_all_or_nothing() {
    let proxy = FaultProxy::start(address()).await;
    let (broken, direct) = (tier(at(proxy.address())), tier(one()));
    for after in [0, 5, 30, 60, 100, 150, 200, 400] {
        let layer = Layer::random(9 * CHUNK);
        proxy.set(Fault::None);
        eventually("it is connected", async || broken.check().await.is_ok()).await;
        proxy.set(Fault::CutAfter(after));
        let committed = match broken.create(&layer.descriptor).await {
            Ok(cache_core::Claim::Write(mut writer)) => match layer.write_to(&mut *writer).await {
                Ok(()) => writer.commit(&layer.index).await.is_ok(),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable);
                    false
                }
            },
            _ => false,
        };
        let there = layer.is_right_in(&direct).await.unwrap();
        assert!(there || !committed);
        direct.remove(layer.digest()).await.unwrap();
    }
}

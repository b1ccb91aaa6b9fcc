//! Servers and networks that fail in the middle of things.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{ErrorKind, LayerReaderExt, Tier};
use cache_remote_redis::RedisConfig;
use cache_testkit::{Fault, FaultProxy, RedisServer};
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt, TryStreamExt};

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
async fn a_restart_between_two_uses_costs_no_error() {
    let mut server = RedisServer::start(&[]);
    let (tier, layer) = (tier(at(server.address())), Layer::random(12 * CHUNK));
    for _ in 0..3 {
        layer.put(&tier).await;
        assert!(layer.is_right_in(&tier).await.unwrap());
        server.restart();
        assert!(layer.open(&tier).await.unwrap().is_none());
    }
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
    let (opened, read) = tokio::join!(layer.open(&tier), reader.read_bytes(0, 4 * CHUNK));
    assert_eq!([kind(opened), kind(read)], [ErrorKind::Unavailable; 2]);
    proxy.set(Fault::Reset);
    assert_eq!(kind(layer.open(&tier).await), ErrorKind::Unavailable);
    proxy.set(Fault::None);
    layer.check(reader).await.unwrap();
    assert!(layer.is_right_in(&tier).await.unwrap());
    tier.remove(layer.digest()).await.unwrap();
}

/// What was connected stays silent for ever, as when a host has lost power.
#[tokio::test]
async fn a_peer_that_has_vanished_costs_one_time_out_however_many_connections_there_were() {
    let (vanishing, other) = (RedisServer::start(&[]), RedisServer::start(&[]));
    let layer = Layer::random(12 * CHUNK);
    for server in [&vanishing, &other] {
        layer.put(&tier(config([server.url()]))).await;
    }
    let proxy = FaultProxy::start(vanishing.address()).await;
    let tier = tier(at(proxy.address()));
    assert!(layer.is_right_in(&tier).await.unwrap());
    let reader = layer.open(&tier).await.unwrap().unwrap();
    assert_eq!(proxy.traffic().connections, 4);
    vanishing.stall();
    proxy.retarget(other.address());
    assert_eq!(kind(reader.read_bytes(0, 1).await), ErrorKind::Unavailable);
    layer.check(reader).await.unwrap();
    assert!(layer.is_right_in(&tier).await.unwrap());
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

/// Whoever reads slowly has requests under way that nobody polls: they must not keep others from their turn.
#[tokio::test]
async fn streams_that_stand_still_hold_up_nobody() {
    let layer = Layer::random(20 * CHUNK);
    let tier = tier(one().with_timeout(Duration::from_secs(20)));
    layer.put(&tier).await;
    let reader = layer.open(&tier).await.unwrap().unwrap();
    layer.check(Arc::clone(&reader)).await.unwrap();
    let mut standing = Vec::new();
    for _ in 0..40 {
        let mut stream = Arc::clone(&reader).stream(0);
        assert!(stream.next().now_or_never().is_none());
        standing.push(stream);
    }
    layer.check(reader).await.unwrap();
    for stream in standing {
        let rest: Vec<Bytes> = stream.try_collect().await.unwrap();
        assert!(rest.concat() == layer.bytes);
    }
    tier.remove(layer.digest()).await.unwrap();
}

/// A stream may stand still in the middle of connecting, too.
#[tokio::test]
async fn a_request_that_nobody_polls_while_it_connects_holds_up_nobody() {
    let layer = Layer::random(CHUNK);
    layer.put(&tier(one())).await;
    let tier = tier(one().with_timeout(Duration::from_secs(20)));
    let mut begun = Box::pin(layer.open(&tier));
    assert!((&mut begun).now_or_never().is_none());
    assert!(layer.is_right_in(&tier).await.unwrap());
    assert!(begun.await.unwrap().is_some());
    tier.remove(layer.digest()).await.unwrap();
}

/// A cluster of one node, which knows its slots after a restart, but has lost all keys.
fn cluster_of_one() -> RedisServer {
    let port = || {
        std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    };
    let bus = port().to_string();
    RedisServer::start(&["--cluster-enabled", "yes", "--cluster-port", &bus])
}

#[tokio::test]
async fn a_node_of_a_cluster_that_stalls_or_dies_is_an_error_and_then_recovers() {
    let mut server = cluster_of_one();
    let slots = raw(&server.url()).await;
    slots
        .run::<()>(&[&"CLUSTER", &"ADDSLOTSRANGE", &"0", &"16383"])
        .await;
    eventually("it is a cluster", async || {
        slots
            .run::<String>(&[&"CLUSTER", &"INFO"])
            .await
            .contains("cluster_state:ok")
    })
    .await;
    // The second is none.
    let config =
        RedisConfig::new([server.url(), "redis://127.0.0.1:1".into()]).with_timeout(Duration::from_secs(3));
    let (tier, layer) = (tier(config), Layer::random(4 * CHUNK));
    layer.put(&tier).await;
    let reader = layer.open(&tier).await.unwrap().unwrap();

    server.stall();
    let (opened, read) = tokio::join!(layer.open(&tier), reader.read_bytes(0, 4 * CHUNK));
    assert_eq!([kind(opened), kind(read)], [ErrorKind::Unavailable; 2]);
    server.resume();
    eventually("it recovers", async || {
        layer.is_right_in(&tier).await.is_ok_and(|right| right)
    })
    .await;

    server.kill();
    let (opened, read) = tokio::join!(layer.open(&tier), reader.read_bytes(0, 4 * CHUNK));
    assert_eq!([kind(opened), kind(read)], [ErrorKind::Unavailable; 2]);
    server.restart();
    eventually("it is empty", async || {
        layer.open(&tier).await.is_ok_and(|found| found.is_none())
    })
    .await;
    layer.put(&tier).await;
    layer.check(reader).await.unwrap();
}

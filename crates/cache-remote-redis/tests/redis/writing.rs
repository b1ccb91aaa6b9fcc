//! Writers that succeed, fail, race, are dropped and die.

use bytes::Bytes;
use cache_core::{Claim, Error, ErrorKind, Tier};

use crate::support::*;

#[tokio::test]
async fn a_layer_is_invisible_until_it_is_committed() {
    let (tier, raw, layer) = (tier(one()), Raw::one().await, Layer::random(3 * CHUNK));
    let mut writer = layer.writer(&tier).await;
    assert!(writer.partial().is_none());
    layer.write_to(&mut *writer).await.unwrap();
    assert!(layer.open(&tier).await.unwrap().is_none());
    writer.commit(&layer.index).await.unwrap();
    assert!(layer.is_right_in(&tier).await.unwrap());
    for part in ["0", "1", "2", "index"] {
        assert_eq!(raw.pttl(&layer.key(part)).await, -1);
    }
    assert!(matches!(
        tier.create(&layer.descriptor).await.unwrap(),
        Claim::Exists(_)
    ));
    tier.remove(layer.digest()).await.unwrap();
}

#[tokio::test]
async fn a_writer_that_is_given_up_leaves_no_key() {
    let (tier, raw) = (tier(one()), Raw::one().await);
    let dropped = Layer::random(6 * CHUNK + 1);
    let mut writer = dropped.writer(&tier).await;
    dropped.write_to(&mut *writer).await.unwrap();
    assert!(!raw.keys_of(dropped.digest()).await.is_empty());
    drop(writer);
    no_key_is_left(&raw, &dropped).await;

    let aborted = Layer::random(6 * CHUNK + 1);
    let mut writer = aborted.writer(&tier).await;
    aborted.write_to(&mut *writer).await.unwrap();
    writer.abort().await.unwrap();
    assert_eq!(raw.keys_of(aborted.digest()).await, [""; 0]);
    aborted.writer(&tier).await.abort().await.unwrap();
}

/// What is removed in the background of the first writer must not be what the second one has written.
#[tokio::test]
async fn a_layer_can_be_written_again_right_after_a_writer_was_given_up() {
    for config in [one(), cluster()] {
        let tier = tier(config);
        for _ in 0..10 {
            let layer = Layer::random(6 * CHUNK);
            let mut writer = layer.writer(&tier).await;
            layer.write_to(&mut *writer).await.unwrap();
            drop(writer);
            layer.put(&tier).await;
            assert!(layer.is_right_in(&tier).await.unwrap());
            tier.remove(layer.digest()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_write_or_commit_that_is_cancelled_leaves_no_key_or_the_whole_layer() {
    let (tier, raw) = (tier(one()), Raw::one().await);
    for polls in 0..40 {
        let layer = Layer::random(6 * CHUNK + 1);
        let mut writer = layer.writer(&tier).await;
        let work = async {
            layer.write_to(&mut *writer).await?;
            writer.commit(&layer.index).await
        };
        poll_times(polls, work).await;
        eventually("all or nothing", async || {
            match raw.keys_of(layer.digest()).await.len() {
                0 => true,
                8 => layer.is_right_in(&tier).await.unwrap() && raw.pttl(&layer.key(0)).await == -1,
                _ => false,
            }
        })
        .await;
        tier.remove(layer.digest()).await.unwrap();
    }
}

/// Polls a future a number of times, and drops it.
async fn poll_times<F: Future>(times: usize, future: F) {
    let mut future = std::pin::pin!(future);
    let mut left = times;
    std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        future.as_mut().poll(context).map(drop)
    })
    .await;
}

/// What a process leaves that is killed: its tasks do not run any more.
#[test]
fn a_writer_that_dies_leaves_only_what_expires() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let layer = Layer::random(6 * CHUNK);
    let dying = runtime();
    let writer = dying.block_on(async {
        let tier = tier(one());
        let mut writer = layer.writer(&tier).await;
        layer.write_to(&mut *writer).await.unwrap();
        writer
    });
    drop(dying);
    drop(writer);
    runtime().block_on(async {
        let (tier, raw) = (tier(one()), Raw::one().await);
        let keys = raw.keys_of(layer.digest()).await;
        assert!(!keys.is_empty());
        for key in keys {
            let left = raw.pttl(&key).await;
            assert!((1..=3_600_000).contains(&left), "{key}: {left} ms");
        }
        assert!(layer.open(&tier).await.unwrap().is_none());
        layer.put(&tier).await;
        assert!(layer.is_right_in(&tier).await.unwrap());
        tier.remove(layer.digest()).await.unwrap();
    });
}

#[tokio::test]
async fn of_racing_writers_any_may_win_and_the_loser_spoils_nothing() {
    let (tier, raw) = (tier(one()), Raw::one().await);
    for loser_commits in [true, false] {
        let layer = Layer::random(5 * CHUNK + 9);
        let mut first = layer.writer(&tier).await;
        let mut second = layer.writer(&tier).await;
        layer.write_to(&mut *first).await.unwrap();
        second.write(layer.bytes.slice(..CHUNK)).await.unwrap();
        first.commit(&layer.index).await.unwrap();
        // It overwrites chunks of the committed layer.
        second.write(layer.bytes.slice(CHUNK..)).await.unwrap();
        if loser_commits {
            second.commit(&layer.index).await.unwrap();
        } else {
            drop(second);
        }
        eventually("the layer is there for good", async || {
            let mut expire = false;
            for chunk in 0..6 {
                expire |= raw.pttl(&layer.key(chunk)).await != -1;
            }
            !expire && layer.is_right_in(&tier).await.unwrap()
        })
        .await;
        tier.remove(layer.digest()).await.unwrap();
    }
}

#[tokio::test]
async fn a_writer_whose_chunks_are_removed_does_not_commit() {
    let (tier, raw, layer) = (tier(one()), Raw::one().await, Layer::random(3 * CHUNK));
    let mut writer = layer.writer(&tier).await;
    layer.write_to(&mut *writer).await.unwrap();
    eventually("a chunk arrives", async || {
        raw.keys_of(layer.digest()).await.len() == 3
    })
    .await;
    tier.remove(layer.digest()).await.unwrap();
    assert_eq!(kind(writer.commit(&layer.index).await), ErrorKind::Unavailable);
    assert!(layer.open(&tier).await.unwrap().is_none());
    no_key_is_left(&raw, &layer).await;
}

#[tokio::test]
async fn a_layer_that_is_too_long_is_refused_for_good() {
    let tier = tier(one().with_max_layer_bytes(2 * CHUNK as u64));
    let (raw, layer) = (Raw::one().await, Layer::random(2 * CHUNK + 1));
    let announced = layer.descriptor.clone().with_size(layer.bytes.len() as u64);
    assert_eq!(kind(tier.create(&announced).await), ErrorKind::Permanent);
    let mut writer = layer.writer(&tier).await;
    let refused: Error = layer.write_to(&mut *writer).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Permanent);
    assert_eq!(
        (refused.tier(), refused.layer()),
        (Some("redis"), Some(layer.digest()))
    );
    // Nothing can follow it.
    assert!(writer.write(Bytes::from_static(b"x")).await.is_err());
    assert!(writer.commit(&layer.index).await.is_err());
    no_key_is_left(&raw, &layer).await;
}

#[tokio::test]
async fn an_index_that_describes_something_else_is_not_committed() {
    let (tier, raw, layer) = (tier(one()), Raw::one().await, Layer::random(CHUNK + 1));
    for wrong in [
        Layer::random(CHUNK + 1),
        Layer::new(*layer.digest(), layer.bytes.slice(1..)),
    ] {
        let mut writer = layer.writer(&tier).await;
        layer.write_to(&mut *writer).await.unwrap();
        assert!(writer.commit(&wrong.index).await.is_err());
        no_key_is_left(&raw, &layer).await;
    }
}

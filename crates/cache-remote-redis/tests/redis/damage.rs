//! Whatever somebody does to the keys: a miss or an error, never a wrong byte.

use bytes::Bytes;
use cache_core::index::Seal;
use cache_core::{ErrorKind, LayerIndex, LayerReaderExt, Tier};
use cache_remote_redis::RedisConfig;
use cache_testkit::FaultProxy;

use crate::support::*;

const LEN: usize = 2 * CHUNK + 1000;

/// What comes of opening and reading the layer.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Miss,
    Right,
    OpenFails(ErrorKind),
    ReadFails(ErrorKind),
}

async fn outcome(config: RedisConfig, layer: &Layer) -> Outcome {
    let tier = tier(config);
    match layer.open(&tier).await {
        Err(error) => Outcome::OpenFails(error.kind()),
        Ok(None) => Outcome::Miss,
        Ok(Some(reader)) => match layer.check(reader).await {
            Ok(()) => Outcome::Right,
            Err(error) => Outcome::ReadFails(error.kind()),
        },
    }
}

/// Spoils a committed layer, looks what comes of it, and then has the tier repair it.
async fn story(expected: Outcome, spoil: impl AsyncFnOnce(&Raw, &Layer)) {
    let (tier, raw, layer) = (tier(one()), Raw::one().await, Layer::random(LEN));
    layer.put(&tier).await;
    spoil(&raw, &layer).await;
    assert_eq!(outcome(one(), &layer).await, expected);

    tier.remove(layer.digest()).await.unwrap();
    assert_eq!(raw.keys_of(layer.digest()).await, [""; 0]);
    layer.put(&tier).await;
    assert_eq!(outcome(one(), &layer).await, Outcome::Right);
    tier.remove(layer.digest()).await.unwrap();
}

async fn set(raw: &Raw, key: String, value: &[u8]) {
    raw.run::<()>(&[&"SET", &key, &value]).await;
}

#[tokio::test]
async fn a_layer_without_its_index_is_a_miss() {
    story(Outcome::Miss, async |raw, layer| {
        raw.run::<()>(&[&"DEL", &layer.key("index")]).await;
    })
    .await;
}

#[tokio::test]
async fn a_layer_that_lacks_a_chunk_is_a_miss() {
    for chunk in 0..3 {
        story(Outcome::Miss, async |raw, layer| {
            raw.run::<()>(&[&"DEL", &layer.key(chunk)]).await;
        })
        .await;
    }
}

#[tokio::test]
async fn an_index_alone_is_a_miss() {
    story(Outcome::Miss, async |raw, layer| {
        raw.run::<()>(&[&"DEL", &layer.key(0), &layer.key(1), &layer.key(2)])
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_flipped_bit_is_corrupt() {
    story(Outcome::ReadFails(ErrorKind::Corrupt), async |raw, layer| {
        let mut chunk = layer.bytes[CHUNK..2 * CHUNK].to_vec();
        chunk[fastrand::usize(..CHUNK)] ^= 1;
        set(raw, layer.key(1), &chunk).await;
    })
    .await;
}

#[tokio::test]
async fn a_truncated_chunk_is_corrupt() {
    story(Outcome::ReadFails(ErrorKind::Corrupt), async |raw, layer| {
        set(raw, layer.key(1), &layer.bytes[CHUNK..2 * CHUNK - 1]).await;
    })
    .await;
}

#[tokio::test]
async fn a_chunk_of_another_layer_is_corrupt() {
    story(Outcome::ReadFails(ErrorKind::Corrupt), async |raw, layer| {
        set(raw, layer.key(0), &layer.bytes[CHUNK..2 * CHUNK]).await;
    })
    .await;
}

#[tokio::test]
async fn a_chunk_that_is_no_string_is_corrupt() {
    story(Outcome::ReadFails(ErrorKind::Corrupt), async |raw, layer| {
        raw.run::<()>(&[&"DEL", &layer.key(1)]).await;
        raw.run::<()>(&[&"LPUSH", &layer.key(1), &"x"]).await;
    })
    .await;
}

#[tokio::test]
async fn an_index_that_is_no_string_is_corrupt() {
    story(Outcome::OpenFails(ErrorKind::Corrupt), async |raw, layer| {
        raw.run::<()>(&[&"DEL", &layer.key("index")]).await;
        raw.run::<()>(&[&"LPUSH", &layer.key("index"), &"x"]).await;
    })
    .await;
}

#[tokio::test]
async fn any_other_index_is_corrupt() {
    story(Outcome::OpenFails(ErrorKind::Corrupt), async |raw, layer| {
        set(raw, layer.key("index"), b"garbage").await;
    })
    .await;
    story(Outcome::OpenFails(ErrorKind::Corrupt), async |raw, layer| {
        set(raw, layer.key("index"), &Layer::random(LEN).index.encode()).await;
    })
    .await;
    story(Outcome::OpenFails(ErrorKind::Corrupt), async |raw, layer| {
        let mut index = layer.index.encode().to_vec();
        let at = fastrand::usize(..index.len());
        index[at] ^= 1;
        set(raw, layer.key("index"), &index).await;
    })
    .await;
    story(Outcome::OpenFails(ErrorKind::Corrupt), async |raw, layer| {
        set(
            raw,
            layer.key("index"),
            &[&layer.index.encode()[..], b"x"].concat(),
        )
        .await;
    })
    .await;
}

/// Without a seal key whoever can write to the store can write an index; the image's diff ID is what it cannot change.
#[tokio::test]
async fn another_layer_under_the_digest_is_disputed() {
    story(Outcome::OpenFails(ErrorKind::Disputed), async |raw, layer| {
        let other = Layer::new(*layer.digest(), Bytes::from_static(b"other"));
        set(raw, layer.key(0), &other.bytes).await;
        set(raw, layer.key("index"), &other.index.encode()).await;
    })
    .await;
}

#[tokio::test]
async fn what_is_too_long_is_not_fetched() {
    let config = one().with_max_layer_bytes(LEN as u64);
    let (raw, layer) = (Raw::one().await, Layer::random(LEN));
    layer.put(&tier(config)).await;
    let proxy = FaultProxy::start(address()).await;
    let config =
        crate::support::config([format!("redis://{}", proxy.address())]).with_max_layer_bytes(LEN as u64);
    let long = vec![b'x'; 4 << 20];

    raw.run::<()>(&[&"APPEND", &layer.key(0), &long]).await;
    let reader = layer.open(&tier(config.clone())).await.unwrap().unwrap();
    assert!(reader.read_bytes(0, 10).await.unwrap() == layer.bytes[..10]);
    raw.run::<()>(&[&"APPEND", &layer.key(2), &long]).await;
    assert_eq!(
        kind(reader.read_bytes(2 * CHUNK as u64, 10).await),
        ErrorKind::Corrupt
    );
    raw.run::<()>(&[&"APPEND", &layer.key("index"), &long]).await;
    assert_eq!(
        outcome(config.clone(), &layer).await,
        Outcome::OpenFails(ErrorKind::Corrupt)
    );

    let most = 2 * CHUNK as u64 + LayerIndex::encoded_len(LEN as u64) + 8192;
    assert!(proxy.traffic().from_upstream < most, "{:?}", proxy.traffic());
    tier(config).remove(layer.digest()).await.unwrap();
    assert_eq!(raw.keys_of(layer.digest()).await, [""; 0]);
}

#[tokio::test]
async fn only_holders_of_the_key_read_and_write_sealed_layers() {
    let seal = |secret: &[u8]| Seal::keyed(secret).unwrap();
    let sealed = one().with_seal(seal(b"one secret of 16"));
    let (raw, layer) = (Raw::one().await, Layer::random(LEN));
    layer.put(&tier(sealed.clone())).await;
    assert_eq!(outcome(sealed.clone(), &layer).await, Outcome::Right);
    for other in [one(), one().with_seal(seal(b"another one of 16"))] {
        assert_eq!(
            outcome(other, &layer).await,
            Outcome::OpenFails(ErrorKind::Corrupt)
        );
    }
    // Vouched for by the key alone.
    let mut unclaimed = layer.clone();
    unclaimed.descriptor.diff_id = None;
    assert_eq!(outcome(sealed.clone(), &unclaimed).await, Outcome::Right);
    assert_eq!(
        outcome(one(), &unclaimed).await,
        Outcome::OpenFails(ErrorKind::Corrupt)
    );

    // Forged without the key: chunks and index fit each other.
    let forged = Layer::new(*layer.digest(), Bytes::from_static(b"forged"));
    set(&raw, layer.key(0), &forged.bytes).await;
    set(&raw, layer.key("index"), &forged.index.encode()).await;
    for layer in [&layer, &unclaimed, &forged] {
        assert_eq!(
            outcome(sealed.clone(), layer).await,
            Outcome::OpenFails(ErrorKind::Corrupt)
        );
    }
    // A fill over it repairs the layer.
    layer.put(&tier(sealed.clone())).await;
    assert_eq!(outcome(sealed.clone(), &layer).await, Outcome::Right);
    tier(sealed).remove(layer.digest()).await.unwrap();
    assert_eq!(raw.keys_of(layer.digest()).await, [""; 0]);
}

#[tokio::test]
async fn a_chunk_that_vanishes_while_the_layer_is_open_is_unavailable_and_not_short() {
    let (tier, raw, layer) = (tier(one()), Raw::one().await, Layer::random(LEN));
    layer.put(&tier).await;
    let reader = layer.open(&tier).await.unwrap().unwrap();
    raw.run::<()>(&[&"DEL", &layer.key(1)]).await;
    let error = reader.read_bytes(CHUNK as u64, 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error
            .to_string()
            .contains("chunk evicted or expired since the layer was opened"),
        "{error}"
    );
    assert!(reader.read_bytes(0, 10).await.unwrap() == layer.bytes[..10]);
    tier.remove(layer.digest()).await.unwrap();
}

#[tokio::test]
async fn removal_finds_chunks_that_no_index_tells_of() {
    let tier = tier(one().with_max_layer_bytes(3000 * CHUNK as u64));
    let (raw, layer) = (Raw::one().await, Layer::random(LEN));
    for chunk in [0, 1023, 1024, 2999] {
        set(&raw, layer.key(chunk), b"left over").await;
    }
    assert!(!tier.remove(layer.digest()).await.unwrap());
    assert_eq!(raw.keys_of(layer.digest()).await, [""; 0]);
}

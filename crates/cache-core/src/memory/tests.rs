//! What a tier in memory keeps, and what it gives up.

use super::*;
use crate::index::IndexBuilder;
use crate::{Algorithm, ErrorKind, LayerReaderExt};

fn layer(number: u64) -> LayerDescriptor {
    LayerDescriptor::new(Digest::sha256_of(&number.to_le_bytes()))
}

async fn claimed(tier: &MemoryTier, number: u64) -> Box<dyn LayerWriter> {
    match tier.create(&layer(number)).await.unwrap() {
        Claim::Write(writer) => writer,
        Claim::Exists(_) => panic!("it is there already"),
    }
}

/// Writes a layer of these pieces.
async fn put(tier: &MemoryTier, number: u64, pieces: &[usize]) -> Result<()> {
    write(claimed(tier, number).await, number, pieces).await
}

async fn write(mut writer: Box<dyn LayerWriter>, number: u64, pieces: &[usize]) -> Result<()> {
    let mut index = IndexBuilder::new(Algorithm::Sha256);
    for &len in pieces {
        let piece = vec![7; len];
        index.update(&piece);
        writer.write(piece.into()).await?;
    }
    writer.commit(&index.finish(layer(number).digest)).await.map(drop)
}

async fn kept(tier: &MemoryTier, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let stats: Vec<_> = tier.list().try_collect().await.unwrap();
    numbers
        .filter(|&number| stats.iter().any(|stat| stat.digest == layer(number).digest))
        .collect()
}

#[tokio::test]
async fn what_was_opened_the_longest_ago_makes_room() {
    let tier = MemoryTier::new("memory", 30);
    for number in 0..3 {
        put(&tier, number, &[4, 6]).await.unwrap();
    }
    assert_eq!((tier.used_bytes(), kept(&tier, 0..9).await), (30, vec![0, 1, 2]));
    tier.open(&layer(0)).await.unwrap().unwrap();
    put(&tier, 3, &[1]).await.unwrap();
    assert_eq!((tier.used_bytes(), kept(&tier, 0..9).await), (21, vec![0, 2, 3]));
    assert!(tier.remove(&layer(2).digest).await.unwrap());
    assert_eq!(tier.used_bytes(), 11);
}

#[tokio::test]
async fn of_layers_that_nobody_opened_the_first_makes_room() {
    // More than once: of layers that seem to be as old as each other, chance decides.
    for [first, second] in [[0, 1], [1, 0]].repeat(10) {
        let tier = MemoryTier::new("memory", 20);
        let writers = [claimed(&tier, first).await, claimed(&tier, second).await];
        for (number, writer) in [first, second].into_iter().zip(writers) {
            write(writer, number, &[10]).await.unwrap();
        }
        put(&tier, 2, &[10]).await.unwrap();
        let mut left = vec![second, 2];
        left.sort_unstable();
        assert_eq!(kept(&tier, 0..9).await, left);
    }
}

#[tokio::test]
async fn a_layer_as_long_as_the_tier_fits_and_a_longer_one_costs_no_other() {
    let tier = MemoryTier::new("memory", 30);
    put(&tier, 0, &[10]).await.unwrap();
    let error = put(&tier, 1, &[31]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(put(&tier, 1, &[20, 11]).await.is_err());
    assert_eq!((tier.used_bytes(), kept(&tier, 0..9).await), (10, vec![0]));
    put(&tier, 3, &[20, 10]).await.unwrap();
    assert_eq!((tier.used_bytes(), kept(&tier, 0..9).await), (30, vec![3]));
}

#[tokio::test]
async fn a_layer_that_is_given_up_takes_no_room() {
    let tier = MemoryTier::new("memory", 30);
    let mut writer = claimed(&tier, 0).await;
    writer.write(vec![7; 20].into()).await.unwrap();
    assert_eq!(tier.used_bytes(), 20);
    drop(writer);
    assert_eq!(tier.used_bytes(), 0);
}

#[tokio::test]
async fn layers_without_bytes_are_bounded_by_their_number() {
    let tier = MemoryTier::new("memory", 30);
    let most = 16_384;
    for number in 0..=most {
        put(&tier, number, &[]).await.unwrap();
    }
    assert_eq!(tier.list().count().await, 16_384);
    assert!(tier.open(&layer(0)).await.unwrap().is_none());
    assert!(tier.open(&layer(most)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_range_is_streamed_and_what_is_beyond_the_end_has_no_pieces() {
    let tier = MemoryTier::new("memory", 30);
    put(&tier, 0, &[10, 10]).await.unwrap();
    let reader = tier.open(&layer(0)).await.unwrap().unwrap();
    for (offset, len, left) in [(3, 10, 10), (15, 10, 5), (20, 10, 0), (0, 0, 0)] {
        let pieces: Vec<_> = Arc::clone(&reader)
            .stream_range(offset, len)
            .try_collect()
            .await
            .unwrap();
        assert_eq!(pieces.concat(), vec![7; left], "{len} at {offset}");
        assert!(pieces.iter().all(|piece| !piece.is_empty()));
    }
}

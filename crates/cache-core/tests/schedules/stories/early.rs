//! Bytes that are read before the layer is complete.

use super::*;
use cache_core::{Copying, LayerReaderExt, SourceOptions};

/// Reads byte by byte from one opening: nothing wrong may stand without an error in the end.
async fn read_bytewise(cache: LayerCache, layer: LayerDescriptor) -> Result<Vec<u8>> {
    let reader = cache.get(&layer).await?;
    let mut all = Vec::new();
    loop {
        let piece = reader.read_bytes(all.len() as u64, 1).await?;
        if piece.is_empty() {
            return Ok(all);
        }
        all.extend(piece);
    }
}

async fn reading_early(acts: &[Act], near: Shelf, needs_every_byte: bool) {
    let first = Origin::new("first", LAYER, acts);
    let second = Origin::new("second", LAYER, &[]);
    let cache = LayerCache::builder()
        .tier(Arc::new(near.clone()))
        .source(Arc::new(first))
        .source(Arc::new(second))
        .early_reads(true)
        .build()
        .unwrap();
    let layer = descriptor(LAYER);
    let streaming = spawn(read(cache.clone(), layer.clone()));
    let bytewise = spawn(read_bytewise(cache.clone(), layer.clone()));
    for result in [streaming.await.unwrap(), bytewise.await.unwrap()] {
        match result {
            Ok(bytes) => assert_eq!(bytes, LAYER),
            Err(error) => assert!(!needs_every_byte, "{error}"),
        }
    }
    at_rest(&cache, &layer).await;
}

#[test]
fn early_readers_follow_the_watermark() {
    explore(|| async {
        let near = Shelf::local("near");
        reading_early(&[], near.clone(), true).await;
        assert_eq!(near.used(), LAYER.len());
    });
}

#[test]
fn early_readers_do_not_notice_a_source_that_is_cut() {
    explore(|| reading_early(&[Act::Cut(2)], Shelf::local("near"), true));
}

#[test]
fn early_readers_do_not_notice_a_tier_that_runs_full() {
    explore(|| reading_early(&[], Shelf::local("near").full_at(2), true));
}

#[test]
fn early_readers_do_not_notice_a_tier_that_does_not_commit() {
    explore(|| reading_early(&[], Shelf::local("near").failing_commits(1), true));
}

#[test]
fn a_wrong_beginning_that_was_read_early_ends_with_an_error() {
    explore(|| reading_early(&[Act::Flip(0)], Shelf::local("near"), false));
}

#[test]
fn a_wrong_end_that_was_read_early_ends_with_an_error() {
    explore(|| reading_early(&[Act::Flip(4)], Shelf::local("near"), false));
}

async fn served_at_once(acts: &[Act], near: Shelf) {
    let far = Origin::far("far", LAYER, acts);
    let behind = Origin::new("behind", LAYER, &[]);
    let cache = LayerCache::builder()
        .tier(Arc::new(near.clone()))
        .source_with(
            Arc::new(far),
            SourceOptions::default().with_fill(Copying::Background),
        )
        .source(Arc::new(behind))
        .build()
        .unwrap();
    let layer = descriptor(LAYER);
    let streaming = spawn(read(cache.clone(), layer.clone()));
    let bytewise = spawn(read_bytewise(cache.clone(), layer.clone()));
    assert_eq!(streaming.await.unwrap().unwrap(), LAYER);
    assert_eq!(bytewise.await.unwrap().unwrap(), LAYER);
    cache.settled(&layer.digest).await;
    assert_eq!(cache.fill_progress(&layer.digest), None);
    at_rest(&cache, &layer).await;
}

#[test]
fn readers_that_are_served_at_once_move_on_to_the_copy() {
    explore(|| async {
        let near = Shelf::local("near");
        served_at_once(&[], near.clone()).await;
        assert_eq!(near.used(), LAYER.len());
    });
}

#[test]
fn readers_that_are_served_at_once_survive_the_source() {
    explore(|| served_at_once(&[Act::Cut(2)], Shelf::local("near")));
}

#[test]
fn readers_that_are_served_at_once_survive_a_tier_that_runs_full() {
    explore(|| served_at_once(&[], Shelf::local("near").full_at(2)));
}

#[test]
fn readers_that_are_served_at_once_survive_a_tier_that_does_not_commit() {
    explore(|| served_at_once(&[], Shelf::local("near").failing_commits(1)));
}

#[test]
fn a_copy_begins_though_nobody_reads() {
    explore(|| async {
        let near = Shelf::local("near");
        let far = Origin::far("far", LAYER, &[]);
        let cache = LayerCache::builder()
            .tier(Arc::new(near.clone()))
            .source_with(
                Arc::new(far),
                SourceOptions::default().with_fill(Copying::Background),
            )
            .build()
            .unwrap();
        let layer = descriptor(LAYER);
        let reader = cache.get(&layer).await.unwrap();
        drop(reader);
        at_rest(&cache, &layer).await;
        assert_eq!(near.used(), LAYER.len());
    });
}

//! Layers that are wrong, and kept to be looked at.

use std::fs;

use bytes::Bytes;
use cache_core::ErrorKind;

use crate::support::{Cache, Layer, claim, fill, gc, is_cached, write};

const LEN: usize = 20_000;

/// The layer with its first byte changed, in its place.
fn spoil(cache: &Cache, layer: &Layer) -> Vec<u8> {
    let path = cache.path(layer, "decompressed");
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, &bytes).unwrap();
    bytes
}

fn evidence(cache: &Cache, layer: &Layer, kind: &str) -> Option<Vec<u8>> {
    let name = cache.path(layer, kind);
    fs::read(cache.dir().join("quarantine").join(name.file_name().unwrap())).ok()
}

#[tokio::test]
async fn what_is_in_quarantine_is_gone_for_readers_and_there_to_be_looked_at() {
    let cache = Cache::new();
    let tier = cache.tier();
    let (layer, other) = (Layer::new(1, LEN), Layer::new(2, LEN));
    assert!(!tier.quarantine(layer.digest()).await.unwrap());
    for layer in [&layer, &other] {
        fill(&tier, layer).await;
    }
    let tree = Bytes::from_static(b"tree");
    tier.write_companion(layer.digest(), "tree", tree).await.unwrap();
    let wrong = spoil(&cache, &layer);
    assert!(tier.quarantine(layer.digest()).await.unwrap());
    assert!(!is_cached(&tier, &layer).await && is_cached(&tier, &other).await);
    assert_eq!(cache.files(), Cache::files_of(&[&other]));
    assert_eq!(evidence(&cache, &layer, "decompressed"), Some(wrong));
    assert_eq!(
        evidence(&cache, &layer, "index"),
        Some(layer.index.encode().to_vec())
    );

    let usage = tier.usage().await.unwrap();
    assert_eq!((usage.layers, usage.quarantined_layers), (1, 1));
    assert_eq!(usage.quarantined_bytes, layer.bytes_on_disk());
    assert_eq!(usage.bytes, layer.bytes_on_disk() + other.bytes_on_disk());
    // The right one comes back, and goes the same way.
    fill(&tier, &layer).await;
    let wrong = spoil(&cache, &layer);
    assert!(tier.quarantine(layer.digest()).await.unwrap());
    assert_eq!(evidence(&cache, &layer, "decompressed"), Some(wrong));
    assert_eq!(tier.usage().await.unwrap().quarantined_layers, 1);

    let report = gc(&tier, None).await.unwrap();
    assert_eq!(
        (report.removed_quarantined, report.removed_layers, report.layers),
        (1, 0, 1)
    );
    assert_eq!(evidence(&cache, &layer, "decompressed"), None);
    assert_eq!(evidence(&cache, &layer, "index"), None);
}

#[tokio::test]
async fn evidence_goes_before_any_layer_where_there_is_no_room() {
    let cache = Cache::new();
    let [wrong, old, new] = [1, 2, 3].map(|seed| Layer::new(seed, LEN));
    let tier = cache
        .config()
        .with_max_bytes(2 * wrong.bytes_on_disk())
        .open()
        .unwrap();
    fill(&tier, &wrong).await;
    fill(&tier, &old).await;
    cache.age(&old, 900);
    tier.quarantine(wrong.digest()).await.unwrap();
    fill(&tier, &new).await;
    assert_eq!(evidence(&cache, &wrong, "decompressed"), None);
    assert_eq!(cache.files(), Cache::files_of(&[&old, &new]));
    assert_eq!(tier.evicted_layers(), 0);
}

#[tokio::test]
async fn clear_takes_it_as_well_and_leaves_what_is_not_ours() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, LEN);
    fill(&tier, &layer).await;
    tier.quarantine(layer.digest()).await.unwrap();
    let notes = cache.dir().join("quarantine/notes.txt");
    fs::write(&notes, "an operator's own").unwrap();
    assert_eq!(tier.clear().await.unwrap().removed_quarantined, 1);
    assert_eq!(tier.usage().await.unwrap().bytes, 0);
    assert!(notes.exists());
}

#[tokio::test]
async fn what_is_being_filled_is_not_disturbed() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, LEN);
    let mut writer = claim(&tier, &layer).await;
    write(&mut *writer, &layer).await.unwrap();
    assert!(!tier.quarantine(layer.digest()).await.unwrap());
    writer.commit(&layer.index).await.unwrap();
    assert!(is_cached(&tier, &layer).await);
}

#[tokio::test]
async fn without_a_place_for_it_the_layer_stays_and_the_error_says_so() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, LEN);
    fill(&tier, &layer).await;
    fs::write(cache.dir().join("quarantine"), "not a directory").unwrap();
    let error = tier.quarantine(layer.digest()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.layer()),
        (ErrorKind::Unavailable, Some(layer.digest()))
    );
    assert!(is_cached(&tier, &layer).await);
}

/// Waits until the file system dates a change later than that of `path`.
fn later_than(cache: &Cache, path: &std::path::Path) {
    use std::os::unix::fs::MetadataExt as _;
    let changed = |path: &std::path::Path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let probe = cache.dir().join("probe");
    loop {
        fs::write(&probe, "").unwrap();
        if changed(&probe) > changed(path) {
            return fs::remove_file(probe).unwrap();
        }
    }
}

#[tokio::test]
async fn only_as_much_evidence_goes_as_is_needed_and_the_oldest_first() {
    // Either of them is the older one: it is not their names that decide.
    for order in [[1, 2], [2, 1]] {
        let cache = Cache::new();
        let [older, newer] = order.map(|seed| Layer::new(seed, LEN));
        let (kept, new) = (Layer::new(3, LEN), Layer::new(4, LEN));
        let tier = cache
            .config()
            .with_max_bytes(3 * kept.bytes_on_disk())
            .open()
            .unwrap();
        for layer in [&older, &newer, &kept] {
            fill(&tier, layer).await;
        }
        tier.quarantine(older.digest()).await.unwrap();
        let name = cache.path(&older, "decompressed");
        let moved = cache.dir().join("quarantine").join(name.file_name().unwrap());
        later_than(&cache, &moved);
        tier.quarantine(newer.digest()).await.unwrap();
        fill(&tier, &new).await;
        assert_eq!(evidence(&cache, &older, "index"), None);
        assert!(!tier.is_quarantined(older.digest()).await.unwrap());
        assert!(tier.is_quarantined(newer.digest()).await.unwrap());
        assert_eq!(
            evidence(&cache, &newer, "decompressed"),
            Some(newer.bytes.to_vec())
        );
        assert_eq!(cache.files(), Cache::files_of(&[&kept, &new]));
    }
}

#[tokio::test]
async fn a_quarantine_that_cannot_be_read_stops_no_eviction() {
    let cache = Cache::new();
    let [old, new] = [1, 2].map(|seed| Layer::new(seed, LEN));
    let tier = cache.config().with_max_bytes(old.bytes_on_disk()).open().unwrap();
    fs::write(cache.dir().join("quarantine"), "not a directory").unwrap();
    fill(&tier, &old).await;
    fill(&tier, &new).await;
    assert!(!is_cached(&tier, &old).await && is_cached(&tier, &new).await);
    assert_eq!(gc(&tier, Some(0)).await.unwrap().removed_layers, 1);
    assert_eq!(tier.clear().await.unwrap().removed_quarantined, 0);
    assert!(tier.is_quarantined(old.digest()).await.is_err());
}

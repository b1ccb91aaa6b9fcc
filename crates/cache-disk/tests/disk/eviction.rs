//! The order of eviction, from what the tier has noted of its layers on the disk.

use cache_disk::{DiskTier, ImageRecord, Standing};

use crate::support::{Cache, Layer, fill, is_cached, open};

const LEN: usize = 20_000;
const HOUR: u64 = 3600;

fn layers(numbers: std::ops::Range<u64>) -> Vec<Layer> {
    numbers.map(|number| Layer::new(number, LEN)).collect()
}

fn tier_for(cache: &Cache, count: u64) -> DiskTier {
    let one = Layer::new(0, LEN).bytes_on_disk();
    cache.config().with_max_bytes(count * one).open().unwrap()
}

async fn standings(tier: &DiskTier) -> Vec<Standing> {
    let contents = tier.contents().await.unwrap();
    contents.layers.iter().map(|layer| layer.standing).collect()
}

#[tokio::test]
async fn a_scan_of_cold_layers_does_not_flush_the_hot_ones() {
    let cache = Cache::in_memory();
    let tier = tier_for(&cache, 10);
    let hot = layers(0..5);
    for layer in &hot {
        fill(&tier, layer).await;
        cache.age(layer, 26 * HOUR);
        cache.filled_before(layer, 26 * HOUR);
        // A day later it is used again.
        assert!(is_cached(&tier, layer).await);
    }
    let cold = layers(100..140);
    for layer in &cold {
        fill(&tier, layer).await;
        // Whatever scans it opens it a few times.
        assert!(is_cached(&tier, layer).await);
    }
    let contents = tier.contents().await.unwrap();
    assert_eq!(contents.layers.len(), 10);
    let kept = |layer: &&Layer| contents.layers.iter().any(|kept| kept.digest == *layer.digest());
    assert_eq!(hot.iter().filter(kept).count(), hot.len());
    assert_eq!(cold.iter().filter(kept).count(), 5);
    assert_eq!(
        standings(&tier).await,
        [[Standing::Probation; 5], [Standing::InUse; 5]].concat()
    );
}

#[tokio::test]
async fn what_was_hot_once_makes_room_for_what_is_used_now() {
    let cache = Cache::in_memory();
    let tier = tier_for(&cache, 10);
    let past = layers(0..10);
    for (days, layer) in past.iter().enumerate() {
        fill(&tier, layer).await;
        cache.filled_before(layer, 1000 * HOUR);
        cache.age(layer, 240 * HOUR - days as u64);
    }
    // Four of ten have no room among those in use.
    let present = layers(100..104);
    for layer in &present {
        fill(&tier, layer).await;
    }
    for layer in &past[..4] {
        assert!(!is_cached(&tier, layer).await);
    }
    for layer in present.iter().chain(&past[4..]) {
        assert!(is_cached(&tier, layer).await);
    }
}

#[tokio::test]
async fn an_open_layer_goes_after_those_that_are_not() {
    let cache = Cache::in_memory();
    let tier = tier_for(&cache, 2);
    let [oldest, newer, newest] = [1, 2, 3].map(|seed| Layer::new(seed, LEN));
    fill(&tier, &oldest).await;
    fill(&tier, &newer).await;
    let reader = open(&tier, &oldest).await;
    cache.age(&oldest, 900);
    fill(&tier, &newest).await;
    assert!(is_cached(&tier, &oldest).await && !is_cached(&tier, &newer).await);
    drop(reader);
    cache.age(&oldest, 900);
    fill(&tier, &newer).await;
    assert!(!is_cached(&tier, &oldest).await);
}

#[tokio::test]
async fn pinned_layers_go_last_but_go() {
    let cache = Cache::in_memory();
    let tier = tier_for(&cache, 3);
    let [pinned, other, more, most] = [1, 2, 3, 4].map(|seed| Layer::new(seed, LEN));
    let image = ImageRecord::new("image", "linux/amd64", vec![*pinned.digest()]).with_pinned(true);
    tier.record_image(image).await.unwrap();
    for (layer, age) in [(&pinned, 900), (&other, 600), (&more, 300)] {
        fill(&tier, layer).await;
        cache.age(layer, age);
    }
    fill(&tier, &most).await;
    assert!(is_cached(&tier, &pinned).await && !is_cached(&tier, &other).await);
    assert_eq!(standings(&tier).await.last(), Some(&Standing::Pinned));
    // A layer that takes all the room there is.
    let huge = Layer::new(5, 3 * LEN);
    let tier = cache
        .config()
        .with_max_bytes(huge.bytes_on_disk())
        .open()
        .unwrap();
    fill(&tier, &huge).await;
    assert_eq!(cache.files(), Cache::files_of(&[&huge]));
}

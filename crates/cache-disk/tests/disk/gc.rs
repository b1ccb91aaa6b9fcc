//! Which layers an operator's `gc` removes, by its settings.

use std::collections::BTreeSet;
use std::time::Duration;

use cache_disk::{DiskTier, GcOptions, ImageRecord};

use crate::support::{Cache, Layer, fill, open};

const LEN: usize = 10_000;
const DAY: u64 = 86_400;

/// Four layers, last used one to four days ago, of which the oldest one is pinned.
async fn filled(cache: &Cache) -> (DiskTier, [Layer; 4]) {
    let tier = cache.tier();
    let layers = [1, 2, 3, 4].map(|days| Layer::new(days, LEN));
    for (layer, days) in layers.iter().zip(1..) {
        fill(&tier, layer).await;
        cache.age(layer, days * DAY + 60);
    }
    let image = ImageRecord::new("pinned", "", vec![*layers[3].digest()]);
    tier.record_image(image.with_pinned(true)).await.unwrap();
    (tier, layers)
}

fn only(layers: &[&Layer]) -> BTreeSet<cache_core::Digest> {
    layers.iter().map(|layer| *layer.digest()).collect()
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * DAY)
}

/// What is left of the four layers, by the days since they were used.
async fn left_after(options: GcOptions) -> Vec<u64> {
    let cache = Cache::in_memory();
    let (tier, layers) = filled(&cache).await;
    let left = |cache: &Cache| -> Vec<u64> {
        let there = |(_, layer): &(u64, &Layer)| cache.path(layer, "decompressed").exists();
        let left = (1..).zip(&layers).filter(there);
        left.map(|(days, _)| days).collect()
    };
    // What is told beforehand is what comes.
    let told = tier.gc(options.clone().with_dry_run(true)).await.unwrap();
    assert_eq!(left(&cache), [1, 2, 3, 4]);
    let done = tier.gc(options).await.unwrap();
    assert_eq!(
        (&told.removed, told.layers, told.bytes, told.removed_bytes),
        (&done.removed, done.layers, done.bytes, done.removed_bytes)
    );
    assert_eq!(done.removed.len() as u64, done.removed_layers);
    assert_eq!(done.layers, left(&cache).len() as u64);
    assert_eq!(done.bytes, tier.usage().await.unwrap().bytes);
    left(&cache)
}

#[tokio::test]
async fn each_setting_and_all_of_them_together() {
    let one = Layer::new(1, LEN).bytes_on_disk();
    let layers = [1, 2, 3, 4].map(|days| Layer::new(days, LEN));
    let [a, b, c, d] = &layers;
    let any = GcOptions::default();
    // Without a setting and without limits there is nothing to do.
    assert_eq!(left_after(any.clone()).await, [1, 2, 3, 4]);
    // By size: pinned layers last.
    assert_eq!(left_after(any.clone().with_max_bytes(2 * one)).await, [1, 4]);
    assert_eq!(left_after(any.clone().with_max_bytes(one)).await, [4]);
    assert_eq!(left_after(any.clone().with_max_bytes(0)).await, [0; 0]);
    // By age: no pinned ones.
    assert_eq!(left_after(any.clone().with_older_than(days(2))).await, [1, 4]);
    assert_eq!(
        left_after(any.clone().with_older_than(days(5))).await,
        [1, 2, 3, 4]
    );
    assert_eq!(left_after(any.clone().with_older_than(Duration::ZERO)).await, [4]);
    // All but some: and but the pinned ones.
    assert_eq!(left_after(any.clone().with_keep(only(&[b]))).await, [2, 4]);
    assert_eq!(left_after(any.clone().with_keep(only(&[]))).await, [4]);
    // Together: both say what may go, and the size when enough is gone.
    let old = any.clone().with_older_than(days(2));
    assert_eq!(left_after(old.clone().with_keep(only(&[a, c]))).await, [1, 3, 4]);
    assert_eq!(left_after(old.clone().with_max_bytes(3 * one)).await, [1, 2, 4]);
    assert_eq!(left_after(old.clone().with_max_bytes(0)).await, [1]);
    let kept = any.with_keep(only(&[c, d]));
    assert_eq!(left_after(kept.clone().with_max_bytes(3 * one)).await, [1, 3, 4]);
    assert_eq!(left_after(kept.clone().with_max_bytes(0)).await, [3, 4]);
    assert_eq!(
        left_after(kept.with_older_than(days(2)).with_max_bytes(0)).await,
        [1, 3, 4]
    );
}

#[tokio::test]
async fn an_open_layer_is_not_old() {
    let cache = Cache::new();
    let (tier, [a, b, c, d]) = filled(&cache).await;
    let reader = open(&tier, &b).await;
    // Opened three days ago, and read since.
    cache.age(&b, 3 * DAY);
    let report = tier
        .gc(GcOptions::default().with_older_than(days(1)))
        .await
        .unwrap();
    assert_eq!(
        report
            .removed
            .iter()
            .map(|(digest, _)| *digest)
            .collect::<BTreeSet<_>>(),
        only(&[&a, &c])
    );
    drop(reader);
    tier.gc(GcOptions::default().with_older_than(days(1)))
        .await
        .unwrap();
    assert_eq!(cache.files(), Cache::files_of(&[&d]));
}

/// What is in quarantine goes first, and may be all that has to.
#[tokio::test]
async fn a_rehearsal_counts_what_is_in_quarantine_as_gone() {
    let cache = Cache::new();
    let (tier, layers) = filled(&cache).await;
    assert!(tier.quarantine(layers[0].digest()).await.unwrap());
    let left = layers[1].bytes_on_disk() * 3;
    let options = GcOptions::default().with_max_bytes(left);
    let told = tier.gc(options.clone().with_dry_run(true)).await.unwrap();
    assert_eq!(
        (told.removed_layers, told.removed_quarantined, told.bytes),
        (0, 1, left)
    );
    let done = tier.gc(options).await.unwrap();
    assert_eq!(
        (done.removed_layers, done.removed_quarantined, done.bytes),
        (0, 1, left)
    );
}

//! What is remembered of images, and what a pin is worth.

use std::fs;

use cache_core::{Digest, ErrorKind, Tier};
use cache_disk::ImageRecord;

use crate::support::{Cache, Layer, fill, gc, is_cached};

fn image(name: &str, layers: &[&Layer]) -> ImageRecord {
    ImageRecord::new(
        name,
        "linux/amd64",
        layers.iter().map(|layer| *layer.digest()).collect(),
    )
}

fn files(cache: &Cache) -> Vec<String> {
    let Ok(entries) = fs::read_dir(cache.dir().join("image")) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn images_are_remembered_by_name_and_platform() {
    let cache = Cache::new();
    let tier = cache.tier();
    assert_eq!(tier.images().await.unwrap(), []);
    let layer = Layer::new(1, 100);
    fill(&tier, &layer).await;
    let manifest = Digest::sha256_of(b"manifest");
    let mut b = image("b", &[&layer]);
    let a = image("a", &[&layer, &layer]).with_manifest(manifest);
    let mut arm = a.clone();
    arm.platform = "linux/arm64".into();
    for record in [&b, &arm, &a] {
        tier.record_image(record.clone()).await.unwrap();
    }
    assert_eq!(tier.images().await.unwrap(), [a.clone(), arm.clone(), b.clone()]);
    // Another process finds them, and the last word counts.
    b.layers.push(manifest);
    tier.record_image(b.clone()).await.unwrap();
    assert_eq!(cache.tier().images().await.unwrap(), [a, arm, b]);
    assert_eq!(
        cache.files(),
        Cache::files_of(&[&layer]),
        "a lock or a staging file is left"
    );
}

#[tokio::test]
async fn an_image_that_is_remembered_is_pinned_as_it_is() {
    let cache = Cache::new();
    let tier = cache.tier();
    assert_eq!(tier.pin_image("a", "linux/amd64").await.unwrap(), None);
    assert!(files(&cache).is_empty());
    let layer = Layer::new(1, 100);
    fill(&tier, &layer).await;
    let record = image("a", &[&layer]).with_lengths(vec![100]);
    tier.record_image(record.clone()).await.unwrap();
    let pinned = record.with_pinned(true);
    for _ in 0..2 {
        let told = tier.pin_image("a", "linux/amd64").await.unwrap();
        assert_eq!(told.as_ref(), Some(&pinned));
    }
    assert_eq!(tier.images().await.unwrap(), [pinned]);
}

#[tokio::test]
async fn an_image_that_came_in_part_takes_no_place_of_what_is_known() {
    let cache = Cache::new();
    let tier = cache.tier();
    let [old, new] = [1, 2].map(|seed| Layer::new(seed, 100));
    for layer in [&old, &new] {
        fill(&tier, layer).await;
    }
    let partial = image("a", &[&new]);
    tier.record_partial_image(partial.clone()).await.unwrap();
    assert_eq!(tier.images().await.unwrap(), std::slice::from_ref(&partial));
    let pinned = image("a", &[&old]).with_pinned(true);
    tier.record_image(pinned.clone()).await.unwrap();
    tier.record_partial_image(partial).await.unwrap();
    assert_eq!(tier.images().await.unwrap(), [pinned]);
}

#[tokio::test]
async fn what_another_version_has_remembered_is_left_to_it() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 100);
    fill(&tier, &layer).await;
    let record = image("a", &[&layer]);
    tier.record_image(record.clone()).await.unwrap();
    let path = cache.dir().join("image").join(&files(&cache)[0]);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "{\"version\":2}").unwrap();
    tier.record_image(record.clone()).await.unwrap();
    let refused = [
        tier.record_image(record.with_pinned(true)).await.unwrap_err(),
        tier.pin_image("a", "linux/amd64").await.unwrap_err(),
        tier.unpin_image("a", "linux/amd64").await.unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(error.to_string().contains("another version"), "{error}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"version\":2}");
    assert_eq!(cache.files(), Cache::files_of(&[&layer]), "a lock is left");
}

#[tokio::test]
async fn records_that_cannot_be_read_stop_no_eviction() {
    let cache = Cache::new();
    let [old, new] = [1, 2].map(|seed| Layer::new(seed, 100));
    let tier = cache.config().with_max_bytes(old.bytes_on_disk()).open().unwrap();
    fill(&tier, &old).await;
    // What cannot be removed as a file can.
    let dir = cache
        .dir()
        .join("image")
        .join(Digest::sha256_of(b"directory").hex());
    fs::create_dir_all(&dir).unwrap();
    tier.record_image(image("a", &[&old])).await.unwrap();
    gc(&tier, None).await.unwrap();
    assert_eq!(tier.images().await.unwrap(), [image("a", &[&old])]);
    assert_eq!(tier.clear().await.unwrap().removed_images, 1);
    fs::remove_dir_all(cache.dir().join("image")).unwrap();

    std::os::unix::fs::symlink("/etc", cache.dir().join("image")).unwrap();
    fill(&tier, &old).await;
    fill(&tier, &new).await;
    assert!(!is_cached(&tier, &old).await && is_cached(&tier, &new).await);
    assert!(tier.images().await.is_err());
    assert!(tier.contents().await.unwrap().images.is_empty());
    assert_eq!(gc(&tier, Some(0)).await.unwrap().removed_layers, 1);
    assert_eq!(tier.clear().await.unwrap().layers, 0);
}

#[tokio::test]
async fn a_pin_stays_until_it_is_taken_back() {
    for staging in [false, true] {
        let cache = Cache::new();
        let tier = cache.config().with_force_staging(staging).open().unwrap();
        let record = image("a", &[]);
        assert!(!tier.unpin_image("a", "linux/amd64").await.unwrap());
        tier.record_image(record.clone().with_pinned(true)).await.unwrap();
        // A pull that knows of no pin.
        tier.record_image(record.clone()).await.unwrap();
        assert_eq!(tier.images().await.unwrap(), [record.clone().with_pinned(true)]);
        assert!(!tier.unpin_image("a", "linux/arm64").await.unwrap());
        assert!(tier.unpin_image("a", "linux/amd64").await.unwrap());
        assert!(!tier.unpin_image("a", "linux/amd64").await.unwrap());
        assert_eq!(tier.images().await.unwrap(), [record]);
        assert_eq!(fs::read_dir(cache.dir().join("image")).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn what_is_among_the_records_and_is_none_is_passed_over_and_collected() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 100);
    fill(&tier, &layer).await;
    let record = image("a", &[&layer]);
    tier.record_image(record.clone()).await.unwrap();
    let dir = cache.dir().join("image");
    let hex = |text: &[u8]| Digest::sha256_of(text).hex();
    fs::write(dir.join(hex(b"torn")), "{\"version\":1,\"na").unwrap();
    fs::write(dir.join(hex(b"huge")), vec![b' '; 300 << 10]).unwrap();
    fs::write(dir.join(hex(b"newer")), "{\"version\":2}").unwrap();
    fs::copy(dir.join(&files(&cache)[0]), dir.join(hex(b"renamed"))).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.join(hex(b"link"))).unwrap();
    fs::write(dir.join("README"), "an operator's own").unwrap();
    let before = files(&cache).len();
    assert_eq!(before, 7);
    assert_eq!(tier.images().await.unwrap(), [record]);
    let report = gc(&tier, None).await.unwrap();
    assert_eq!((report.removed_images, report.layers), (4, 1));
    let mut left = files(&cache);
    left.sort();
    let mut expected = vec![hex(b"a\nlinux/amd64"), hex(b"newer"), "README".to_owned()];
    expected.sort();
    assert_eq!(left, expected);
    assert!(std::path::Path::new("/etc/passwd").exists());
}

#[tokio::test]
async fn an_image_is_forgotten_with_the_last_of_its_layers_unless_it_is_pinned() {
    let cache = Cache::new();
    let tier = cache.tier();
    let (layer, other) = (Layer::new(1, 100), Layer::new(2, 100));
    fill(&tier, &layer).await;
    let here = image("here", &[&layer, &other]);
    let pinned = image("pinned", &[&other]).with_pinned(true);
    fill(&tier, &other).await;
    for record in [here.clone(), image("gone", &[&other]), pinned.clone()] {
        tier.record_image(record).await.unwrap();
    }
    assert!(tier.remove(other.digest()).await.unwrap());
    assert_eq!(gc(&tier, None).await.unwrap().removed_images, 1);
    assert_eq!(tier.images().await.unwrap(), [here, pinned.clone()]);
    assert_eq!(tier.clear().await.unwrap().removed_images, 1);
    assert_eq!(tier.images().await.unwrap(), [pinned]);
}

#[tokio::test]
async fn any_record_may_be_removed_at_any_time() {
    let cache = Cache::new();
    let tier = cache.tier();
    tier.record_image(image("a", &[]).with_pinned(true))
        .await
        .unwrap();
    fs::remove_dir_all(cache.dir().join("image")).unwrap();
    assert_eq!(tier.images().await.unwrap(), []);
    assert!(!tier.unpin_image("a", "linux/amd64").await.unwrap());
    tier.record_image(image("a", &[]).with_pinned(true))
        .await
        .unwrap();
    assert_eq!(tier.images().await.unwrap(), [image("a", &[]).with_pinned(true)]);
}

#[tokio::test]
async fn what_nothing_is_cached_of_is_not_remembered_unless_it_is_pinned() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 100);
    tier.record_image(image("a", &[&layer])).await.unwrap();
    assert!(files(&cache).is_empty());
    fill(&tier, &layer).await;
    tier.record_image(image("a", &[&layer])).await.unwrap();
    assert_eq!(tier.images().await.unwrap(), [image("a", &[&layer])]);
}

#[tokio::test]
async fn what_is_no_name_is_refused() {
    let cache = Cache::new();
    let tier = cache.tier();
    let error = tier.record_image(image("a\u{1b}[2J", &[])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert!(files(&cache).is_empty());
}

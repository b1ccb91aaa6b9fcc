//! What operators do to the cache, by the tier's operations and by hand.

use std::fs;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cache_core::{Digest, ErrorKind, LayerStat, Tier};
use cache_disk::Verification;
use futures_util::TryStreamExt;

use crate::support::{Cache, Layer, claim, fill, gc, is_cached, open, read_all, write};

const LEN: usize = 100_000;

#[tokio::test]
async fn usage_counts_layers_and_their_companions() {
    let cache = Cache::new();
    let tier = cache
        .config()
        .with_max_bytes(1 << 30)
        .with_min_free_bytes(7)
        .open()
        .unwrap();
    let layers = [Layer::new(1, LEN), Layer::new(2, 2 * LEN)];
    for layer in &layers {
        fill(&tier, layer).await;
    }
    fs::write(cache.dir().join("notes.txt"), "not the cache's").unwrap();
    let usage = tier.usage().await.unwrap();
    assert_eq!(usage.layers, 2);
    assert_eq!(usage.bytes, layers.iter().map(Layer::bytes_on_disk).sum::<u64>());
    assert_eq!((usage.max_bytes, usage.min_free_bytes), (Some(1 << 30), 7));
    assert!(usage.free_bytes > 0);
}

#[tokio::test]
async fn an_index_is_told_if_it_is_the_layers_own() {
    let cache = Cache::new();
    let tier = cache.tier();
    let [layer, other] = [1, 2].map(|seed| Layer::new(seed, LEN));
    assert_eq!(tier.index(layer.digest()).await.unwrap(), None);
    fill(&tier, &layer).await;
    fill(&tier, &other).await;
    assert_eq!(
        tier.index(layer.digest()).await.unwrap(),
        Some(layer.index.clone())
    );
    fs::remove_file(cache.path(&layer, "index")).unwrap();
    assert_eq!(tier.index(layer.digest()).await.unwrap(), None);
    fs::copy(cache.path(&other, "index"), cache.path(&layer, "index")).unwrap();
    assert_eq!(tier.index(layer.digest()).await.unwrap(), None);
}

#[tokio::test]
async fn verify_tells_intact_damaged_unverifiable_and_absent() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 5_000_000);
    let verify = |progress: Arc<Mutex<Vec<u64>>>| {
        let (tier, digest) = (tier.clone(), *layer.digest());
        async move {
            tier.verify(&digest, move |done| progress.lock().unwrap().push(done))
                .await
        }
    };
    assert_eq!(verify(Arc::default()).await.unwrap(), Verification::Absent);
    fill(&tier, &layer).await;
    let progress = Arc::new(Mutex::new(Vec::new()));
    assert_eq!(
        verify(Arc::clone(&progress)).await.unwrap(),
        Verification::Intact(layer.index.clone())
    );
    let progress = progress.lock().unwrap().clone();
    assert!(progress.len() > 1 && progress.is_sorted() && progress.last() == Some(&5_000_000));

    // Without the index nothing proves what the bytes are, and to have looked at them is no proof.
    fs::remove_file(cache.path(&layer, "index")).unwrap();
    for _ in 0..2 {
        assert_eq!(
            verify(Arc::default()).await.unwrap(),
            Verification::Unverifiable(layer.index.clone())
        );
        assert!(!cache.path(&layer, "index").exists());
    }
    assert!(is_cached(&tier, &layer).await);
    assert_eq!(
        verify(Arc::default()).await.unwrap(),
        Verification::Intact(layer.index.clone())
    );

    let path = cache.path(&layer, "decompressed");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_000_000] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let error = verify(Arc::default()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.layer()),
        (ErrorKind::Corrupt, Some(layer.digest()))
    );
    assert!(path.exists(), "to remove it is for whoever asked");
}

#[tokio::test]
async fn gc_trims_to_a_target_least_recently_used_first() {
    let cache = Cache::new();
    let tier = cache.tier();
    let [a, b, c] = [1, 2, 3].map(|seed| Layer::new(seed, LEN));
    for (layer, age) in [(&a, 300), (&b, 900), (&c, 600)] {
        fill(&tier, layer).await;
        cache.age(layer, age);
    }
    let one = a.bytes_on_disk();
    let report = gc(&tier, None).await.unwrap();
    assert_eq!(
        (report.removed_layers, report.layers, report.bytes),
        (0, 3, 3 * one)
    );
    let report = gc(&tier, Some(2 * one + 1)).await.unwrap();
    assert_eq!((report.removed_layers, report.removed_bytes), (1, one));
    assert_eq!((report.layers, report.bytes), (2, 2 * one));
    assert_eq!(cache.files(), Cache::files_of(&[&a, &c]));
    gc(&tier, Some(0)).await.unwrap();
    assert_eq!(cache.files(), [""; 0]);
    assert_eq!(tier.evicted_layers(), 3);
}

#[tokio::test]
async fn gc_brings_a_directory_within_limits_that_were_lowered() {
    let cache = Cache::new();
    let layers = [1, 2, 3].map(|seed| Layer::new(seed, LEN));
    for (n, layer) in layers.iter().enumerate() {
        fill(&cache.tier(), layer).await;
        cache.age(layer, 1000 - n as u64);
    }
    let lowered = cache
        .config()
        .with_max_bytes(layers[0].bytes_on_disk())
        .open()
        .unwrap();
    let report = gc(&lowered, None).await.unwrap();
    assert_eq!((report.removed_layers, report.layers), (2, 1));
    assert_eq!(cache.files(), Cache::files_of(&[&layers[2]]));
}

#[tokio::test]
async fn gc_removes_what_dead_processes_left() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, LEN);
    fill(&tier, &layer).await;
    let dead = Layer::new(2, LEN);
    fs::write(cache.lock_path(&dead), "1").unwrap();
    fs::write(cache.path(&dead, "index"), "orphan").unwrap();
    fs::create_dir_all(cache.dir().join("staging")).unwrap();
    fs::write(cache.dir().join("staging/1-1"), "half a layer").unwrap();
    let report = gc(&tier, None).await.unwrap();
    assert_eq!(
        (report.removed_leftovers, report.removed_layers, report.layers),
        (3, 0, 1)
    );
    assert_eq!(cache.files(), Cache::files_of(&[&layer]));
}

#[tokio::test]
async fn remove_takes_the_layer_and_everything_kept_with_it() {
    let cache = Cache::new();
    let tier = cache.tier();
    let (layer, other) = (Layer::new(1, LEN), Layer::new(2, LEN));
    for layer in [&layer, &other] {
        fill(&tier, layer).await;
        tier.write_companion(layer.digest(), "tarindex", Bytes::from_static(b"x"))
            .await
            .unwrap();
    }
    let reader = open(&tier, &layer).await.unwrap();
    assert!(tier.remove(layer.digest()).await.unwrap());
    assert!(!tier.remove(layer.digest()).await.unwrap());
    assert!(!is_cached(&tier, &layer).await);
    assert_eq!(read_all(&reader).await, layer.bytes);
    assert_eq!(cache.files().len(), 3);
    assert!(is_cached(&tier, &other).await);
}

#[tokio::test]
async fn what_is_being_filled_survives_remove_and_clear() {
    let cache = Cache::new();
    let tier = cache.tier();
    let (filling, done) = (Layer::new(1, LEN), Layer::new(2, LEN));
    fill(&tier, &done).await;
    let mut writer = claim(&tier, &filling).await;
    write(&mut *writer, &filling).await.unwrap();
    assert!(!tier.remove(filling.digest()).await.unwrap());
    let report = tier.clear().await.unwrap();
    assert_eq!(
        (report.removed_layers, report.removed_bytes),
        (1, done.bytes_on_disk())
    );
    assert_eq!((report.layers, report.bytes), (0, 0));
    writer.commit(&filling.index).await.unwrap();
    assert_eq!(cache.files(), Cache::files_of(&[&filling]));
    assert!(is_cached(&tier, &filling).await);
}

#[tokio::test]
async fn list_names_committed_layers_with_their_last_use() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, LEN);
    fill(&tier, &layer).await;
    cache.age(&layer, 1000);
    let orphan = Layer::new(2, LEN);
    fs::write(cache.path(&orphan, "index"), "orphan").unwrap();
    fs::write(cache.dir().join("layer-nonsense.decompressed"), "").unwrap();
    fs::create_dir(cache.path(&orphan, "decompressed")).unwrap();
    let listed: Vec<LayerStat> = tier.list().try_collect().await.unwrap();
    let last_used = fs::metadata(cache.path(&layer, "decompressed"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(
        listed,
        [LayerStat::new(*layer.digest(), LEN as u64).with_last_used(last_used)]
    );
}

#[tokio::test]
async fn companions_are_replaced_whole_and_bounded_when_read() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, LEN);
    let digest = layer.digest();
    // Without the layer nothing is kept.
    tier.write_companion(digest, "tarindex", Bytes::from_static(b"x"))
        .await
        .unwrap();
    assert_eq!(cache.files(), [""; 0]);
    fill(&tier, &layer).await;
    assert_eq!(tier.read_companion(digest, "tarindex", 100).await.unwrap(), None);
    for content in ["first", "second, longer", "", "3rd"] {
        tier.write_companion(digest, "tarindex", content.into())
            .await
            .unwrap();
        assert_eq!(
            tier.read_companion(digest, "tarindex", content.len())
                .await
                .unwrap()
                .unwrap(),
            content
        );
    }
    let error = tier.read_companion(digest, "tarindex", 2).await.unwrap_err();
    assert_eq!((error.kind(), error.layer()), (ErrorKind::Corrupt, Some(digest)));
    for kind in ["index", "decompressed", "../escape", ""] {
        let written = tier.write_companion(digest, kind, Bytes::from_static(b"x")).await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::Permanent, "{kind}");
        assert_eq!(
            tier.read_companion(digest, kind, 100).await.unwrap_err().kind(),
            ErrorKind::Permanent
        );
    }
    assert_eq!(
        tier.read_companion(&Digest::sha256_of(b"none"), "tarindex", 9)
            .await
            .unwrap(),
        None
    );
    assert!(is_cached(&tier, &layer).await);
}

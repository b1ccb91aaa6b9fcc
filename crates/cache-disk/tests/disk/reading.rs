//! Opening and reading committed layers, whatever happened to their files.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Arc;

use cache_core::digest::DigestHasher;
use cache_core::index::IndexBuilder;
use cache_core::{Algorithm, Digest, ErrorKind, LayerDescriptor, LayerReaderExt, LayerSource, Tier};
use futures_util::{StreamExt, TryStreamExt};

use crate::support::{Cache, Layer, fill, is_cached, open, read_all, set_age};

const BIG: usize = 3_000_017;

async fn open_error(tier: &cache_disk::DiskTier, layer: &Layer) -> cache_core::Error {
    let error = tier.open(&layer.descriptor).await.unwrap_err();
    assert_eq!(error.tier(), Some("disk"));
    assert_eq!(error.layer(), Some(layer.digest()));
    error
}

/// A layer's file is read-only; damage needs the write bit.
fn damage(path: &std::path::Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn every_range_reads_the_layers_bytes_and_is_short_only_at_the_end() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, BIG);
    fill(&tier, &layer).await;
    // Another tier on the directory: nothing is remembered.
    let reader = open(&cache.tier(), &layer).await.unwrap();
    assert_eq!(reader.len(), Some(BIG as u64));
    for (offset, len) in [
        (0, 1),
        (0, BIG),
        (0, BIG + 1),
        (262_143, 700_000),
        (BIG - 1, 10),
        (BIG, 10),
    ] {
        let expected = &layer.bytes[offset..BIG.min(offset + len)];
        assert_eq!(
            reader.read_bytes(offset as u64, len).await.unwrap(),
            expected,
            "{offset}+{len}"
        );
    }
    assert_eq!(reader.read_bytes(u64::MAX, 10).await.unwrap(), "");
    assert_eq!(reader.read_bytes(0, 0).await.unwrap(), "");
}

#[tokio::test]
async fn streams_give_the_rest_of_the_layer_in_bounded_pieces() {
    let cache = Cache::new();
    let layer = Layer::new(1, BIG);
    let reader = fill(&cache.tier(), &layer).await;
    for offset in [0, 1, 262_144, BIG - 1, BIG, BIG + 1] {
        let pieces: Vec<_> = Arc::clone(&reader)
            .stream(offset as u64)
            .try_collect()
            .await
            .unwrap();
        assert!(pieces.iter().all(|piece| (1..=256 * 1024).contains(&piece.len())));
        assert_eq!(pieces.concat(), &layer.bytes[offset.min(BIG)..]);
    }
}

#[tokio::test]
async fn bytes_that_are_not_in_the_page_cache_are_read_all_the_same() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, BIG);
    fill(&tier, &layer).await;
    let file = fs::File::open(cache.path(&layer, "decompressed")).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert_eq!(read_all(&open(&tier, &layer).await.unwrap()).await, layer.bytes);
}

#[tokio::test]
async fn a_layer_that_was_opened_before_is_looked_at_again_once_anything_of_it_has_changed() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, BIG);
    fill(&tier, &layer).await;
    let path = cache.path(&layer, "decompressed");
    let again = || async { read_all(&open(&tier, &layer).await.unwrap()).await };
    for _ in 0..2 {
        assert_eq!(again().await, layer.bytes);
    }
    // The time of last use is kept all the same.
    cache.age(&layer, 3600);
    assert_eq!(again().await, layer.bytes);
    let used = fs::metadata(&path).unwrap().modified().unwrap();
    assert!(used.elapsed().unwrap().as_secs() < 1800);
    // Another claim is judged by the index.
    let other = layer.descriptor.clone().with_diff_id(Digest::sha256_of(b"other"));
    assert_eq!(tier.open(&other).await.unwrap_err().kind(), ErrorKind::Invalid);
    // Another file is another file, of the same length too.
    fs::remove_file(cache.path(&layer, "index")).unwrap();
    let kept = fs::File::open(&path).unwrap();
    damage(&path, |bytes| bytes[BIG / 2] ^= 1);
    assert_eq!(open_error(&tier, &layer).await.kind(), ErrorKind::Corrupt);
    drop(kept);
}

#[tokio::test]
async fn an_empty_layer_is_a_layer() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 0);
    fill(&tier, &layer).await;
    let reader = open(&tier, &layer).await.unwrap();
    assert!(reader.is_empty());
    assert!(reader.stream(0).next().await.is_none());
}

#[tokio::test]
async fn removing_any_file_is_a_miss_or_nothing_and_open_readers_go_on() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, BIG);
    fill(&tier, &layer).await;
    let reader = open(&tier, &layer).await.unwrap();
    for file in cache.files() {
        fs::remove_file(cache.dir().join(file)).unwrap();
    }
    assert!(!is_cached(&tier, &layer).await);
    assert_eq!(read_all(&reader).await, layer.bytes);
    fill(&tier, &layer).await;
    assert_eq!(read_all(&reader).await, layer.bytes);
}

#[tokio::test]
async fn a_layer_cut_under_an_open_reader_is_corrupt_and_never_short() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, BIG);
    let reader = fill(&tier, &layer).await;
    let file = fs::File::options()
        .write(true)
        .open(cache.path(&layer, "decompressed"));
    // Root may open what is read-only.
    let Ok(file) = file else { return };
    file.set_len(1_000_000).unwrap();
    assert_eq!(
        reader.read_bytes(0, 1_000_000).await.unwrap(),
        layer.bytes[..1_000_000]
    );
    for (offset, len) in [(999_999, 2), (1_000_000, 1), (2_000_000, 5)] {
        let error = reader.read_bytes(offset, len).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.layer(), Some(layer.digest()));
    }
    let pieces: Vec<_> = reader.stream(0).collect().await;
    let (last, good) = pieces.split_last().unwrap();
    assert_eq!(last.as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(good.iter().all(|piece| piece.is_ok()));
}

#[tokio::test]
async fn a_cut_or_grown_file_is_corrupt() {
    for change in [
        |bytes: &mut Vec<u8>| bytes.truncate(10),
        |bytes: &mut Vec<u8>| bytes.push(0),
        |bytes: &mut Vec<u8>| bytes.clear(),
    ] {
        let cache = Cache::new();
        let tier = cache.tier();
        let layer = Layer::new(1, 1000);
        fill(&tier, &layer).await;
        damage(&cache.path(&layer, "decompressed"), change);
        assert_eq!(open_error(&tier, &layer).await.kind(), ErrorKind::Corrupt);
    }
}

#[tokio::test]
async fn the_index_of_another_layer_is_corrupt() {
    let cache = Cache::new();
    let tier = cache.tier();
    let (layer, other) = (Layer::new(1, 1000), Layer::new(2, 1000));
    fill(&tier, &layer).await;
    fill(&tier, &other).await;
    fs::copy(cache.path(&other, "index"), cache.dir().join("copy")).unwrap();
    fs::rename(cache.dir().join("copy"), cache.path(&layer, "index")).unwrap();
    assert_eq!(open_error(&tier, &layer).await.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_lost_or_damaged_index_is_rebuilt() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, BIG);
    fill(&tier, &layer).await;
    let index = cache.path(&layer, "index");
    let original = fs::read(&index).unwrap();
    for lost in [true, false] {
        lose_index(&index, lost);
        assert_eq!(read_all(&open(&tier, &layer).await.unwrap()).await, layer.bytes);
        assert_eq!(fs::read(&index).unwrap(), original);
    }
    assert_eq!(cache.files(), Cache::files_of(&[&layer]));
}

/// Regression: an index made of whatever bytes were there vouched for them from then on.
#[tokio::test]
async fn without_index_and_diff_id_nothing_proves_what_a_layer_is() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 1000);
    let unknown = LayerDescriptor::new(*layer.digest());
    for lost in [true, false] {
        fill(&tier, &layer).await;
        assert!(tier.open(&unknown).await.unwrap().is_some());
        let index = cache.path(&layer, "index");
        lose_index(&index, lost);
        let left = fs::read(&index).ok();
        let error = tier.open(&unknown).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains("without a diff ID"), "{error}");
        assert_eq!(fs::read(&index).ok(), left);
        // What the cache does with it, so that the layer is fetched again.
        assert!(tier.remove(layer.digest()).await.unwrap());
    }
    assert_eq!(cache.files(), [""; 0]);
}

fn lose_index(index: &std::path::Path, lost: bool) {
    match lost {
        true => fs::remove_file(index).unwrap(),
        false => damage(index, |bytes| bytes[200] ^= 1),
    }
}

#[tokio::test]
async fn a_changed_layer_without_an_index_is_corrupt() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 1000);
    fill(&tier, &layer).await;
    fs::remove_file(cache.path(&layer, "index")).unwrap();
    damage(&cache.path(&layer, "decompressed"), |bytes| bytes[500] ^= 1);
    assert_eq!(open_error(&tier, &layer).await.kind(), ErrorKind::Corrupt);
    assert!(!cache.path(&layer, "index").exists());
}

#[tokio::test]
async fn an_image_that_lies_about_the_diff_id_cannot_purge_the_layer() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 1000);
    fill(&tier, &layer).await;
    let lies = [
        Digest::sha256_of(b"lie"),
        Digest::from_hash(Algorithm::Sha512, &[7; 64]).unwrap(),
    ];
    for lie in lies {
        let claim = LayerDescriptor::new(*layer.digest()).with_diff_id(lie);
        assert_eq!(tier.open(&claim).await.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(tier.create(&claim).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(read_all(&open(&tier, &layer).await.unwrap()).await, layer.bytes);
    assert_eq!(cache.files(), Cache::files_of(&[&layer]));
}

#[tokio::test]
async fn a_true_diff_id_of_another_algorithm_is_no_lie() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 1000);
    fill(&tier, &layer).await;
    let mut hasher = DigestHasher::new(Algorithm::Sha512);
    hasher.update(&layer.bytes);
    let claim = LayerDescriptor::new(*layer.digest()).with_diff_id(hasher.finish());
    assert!(tier.open(&claim).await.unwrap().is_some());
}

#[tokio::test]
async fn layers_with_long_digests_have_long_names() {
    let cache = Cache::new();
    let tier = cache.tier();
    let mut layer = Layer::new(1, 1000);
    let mut hasher = DigestHasher::new(Algorithm::Sha512);
    hasher.update(b"blob");
    layer.descriptor.digest = hasher.finish();
    let mut builder = IndexBuilder::new(Algorithm::Sha256);
    builder.update(&layer.bytes);
    layer.index = builder.finish(*layer.digest());
    fill(&tier, &layer).await;
    assert_eq!(cache.files(), Cache::files_of(&[&layer]));
    assert_eq!(read_all(&open(&tier, &layer).await.unwrap()).await, layer.bytes);
}

#[tokio::test]
async fn what_is_not_a_regular_file_of_ours_is_corrupt() {
    let layer = Layer::new(1, 1000);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), &layer.bytes).unwrap();
    for kind in ["decompressed", "index"] {
        let put: [&dyn Fn(&std::path::Path); 3] = [
            &|path| symlink(outside.path().join("secret"), path).unwrap(),
            &|path| fs::create_dir(path).unwrap(),
            // Opening one for reading would wait forever.
            &|path| {
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
                    .unwrap()
            },
        ];
        for put in put {
            let cache = Cache::new();
            let tier = cache.tier();
            fill(&tier, &layer).await;
            fs::remove_file(cache.path(&layer, kind)).unwrap();
            put(&cache.path(&layer, kind));
            assert_eq!(open_error(&tier, &layer).await.kind(), ErrorKind::Corrupt);
        }
    }
}

#[tokio::test]
async fn a_file_of_another_user_is_corrupt() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 1000);
    fill(&tier, &layer).await;
    std::os::unix::fs::chown(cache.path(&layer, "decompressed"), Some(4242), None).unwrap();
    let error = open_error(&tier, &layer).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("4242"));
}

#[tokio::test]
async fn an_open_is_a_use_but_is_noted_once_a_minute_at_most() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 1000);
    fill(&tier, &layer).await;
    let path = cache.path(&layer, "decompressed");
    let modified = || fs::metadata(&path).unwrap().mtime();
    set_age(&path, 30);
    let recent = modified();
    open(&tier, &layer).await;
    assert_eq!(modified(), recent);
    set_age(&path, 90);
    let old = modified();
    open(&tier, &layer).await;
    assert!(modified() >= old + 90);
    // A clock that was wrong does not make a layer immortal.
    let future = std::time::SystemTime::now() + std::time::Duration::from_secs(10_000);
    fs::File::open(&path).unwrap().set_modified(future).unwrap();
    let wrong = modified();
    open(&tier, &layer).await;
    assert!(modified() < wrong);
}

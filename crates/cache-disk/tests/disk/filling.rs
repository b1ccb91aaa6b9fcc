//! Writing layers: visible when committed and not before, and nothing left of what was given up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use bytes::Bytes;
use cache_core::{Claim, ErrorKind, LayerDescriptor, LayerReaderExt, LayerSource, LayerStat, Tier};
use cache_disk::DiskTier;
use futures_util::{FutureExt, StreamExt, TryStreamExt};

use crate::support::{Cache, Layer, claim, fill, gc, is_cached, open, read_all, write};

/// The tier as it works here, and as it works where the file system has no O_TMPFILE.
fn both_ways(cache: &Cache) -> [DiskTier; 2] {
    [false, true].map(|staging| cache.config().with_force_staging(staging).open().unwrap())
}

#[test]
fn it_claims_what_it_can_do() {
    let capabilities = Cache::new().tier().capabilities();
    assert!(capabilities.verified && capabilities.read_while_write && capabilities.list);
}

#[tokio::test]
async fn a_layer_appears_with_its_commit_and_leaves_nothing_else() {
    for way in 0..2 {
        let cache = Cache::new();
        let tier = &both_ways(&cache)[way];
        let layer = Layer::new(1, 1_000_000);
        let mut writer = claim(tier, &layer).await;
        write(&mut *writer, &layer).await.unwrap();
        assert!(!is_cached(tier, &layer).await);
        assert!(tier.list().next().await.is_none());
        assert_eq!(
            read_all(&writer.commit(&layer.index).await.unwrap()).await,
            layer.bytes
        );
        assert_eq!(read_all(&open(tier, &layer).await.unwrap()).await, layer.bytes);
        assert_eq!(cache.files(), Cache::files_of(&[&layer]));
        let mode = fs::metadata(cache.path(&layer, "decompressed"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7333, 0, "nobody writes to or executes a layer: {mode:o}");
        let listed: Vec<LayerStat> = tier.list().try_collect().await.unwrap();
        assert_eq!((listed[0].digest, listed[0].len), (*layer.digest(), 1_000_000));
        assert_eq!(listed.len(), 1);
    }
}

#[tokio::test]
async fn what_is_given_up_leaves_nothing() {
    for way in 0..2 {
        let cache = Cache::new();
        let tier = &both_ways(&cache)[way];
        let layer = Layer::new(1, 300_000);
        let mut writer = claim(tier, &layer).await;
        write(&mut *writer, &layer).await.unwrap();
        assert!(cache.lock_path(&layer).exists());
        assert_eq!(
            cache.files().len(),
            1 + way,
            "a lock, and a staging file where there is no O_TMPFILE"
        );
        writer.abort().await.unwrap();
        assert_eq!(cache.files(), [""; 0]);
        assert!(!is_cached(tier, &layer).await);
    }
}

#[test]
fn what_is_dropped_leaves_nothing_with_or_without_a_runtime() {
    for inside in [true, false] {
        let cache = Cache::new();
        let layer = Layer::new(1, 300_000);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut writer = runtime.block_on(async {
            let mut writer = claim(&cache.config().with_force_staging(true).open().unwrap(), &layer).await;
            write(&mut *writer, &layer).await.unwrap();
            Some(writer)
        });
        if inside {
            runtime.block_on(async { drop(writer.take()) });
        }
        // Waits for the blocking work.
        drop(runtime);
        drop(writer);
        assert_eq!(cache.files(), [""; 0]);
    }
}

#[tokio::test]
async fn a_layer_is_read_while_it_is_written() {
    for way in 0..2 {
        let cache = Cache::new();
        let tier = &both_ways(&cache)[way];
        let layer = Layer::new(1, 1000);
        let mut writer = claim(tier, &layer).await;
        let partial = writer.partial().unwrap();
        assert_eq!(partial.len(), None);
        assert_eq!(partial.read_bytes(0, 10).await.unwrap(), "");
        writer.write(layer.bytes.slice(..600)).await.unwrap();
        assert_eq!(partial.read_bytes(0, 1000).await.unwrap(), layer.bytes[..600]);
        assert_eq!(partial.read_bytes(599, 10).await.unwrap(), layer.bytes[599..600]);
        assert_eq!(partial.read_bytes(600, 10).await.unwrap(), "");
        // A stream of a part must not pass for the whole.
        let pieces: Vec<_> = Arc::clone(&partial).stream(0).collect().await;
        assert_eq!(pieces[0].as_ref().unwrap(), &layer.bytes[..600]);
        assert_eq!(pieces[1].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(pieces.len(), 2);
        writer.write(layer.bytes.slice(600..)).await.unwrap();
        writer.commit(&layer.index).await.unwrap();
        assert_eq!(partial.len(), Some(1000));
        assert_eq!(read_all(&partial).await, layer.bytes);
        let pieces: Vec<Bytes> = partial.stream(0).try_collect().await.unwrap();
        assert_eq!(pieces.concat(), layer.bytes);
    }
}

#[tokio::test]
async fn a_partial_reader_outlives_what_was_given_up() {
    let cache = Cache::new();
    let layer = Layer::new(1, 1000);
    let mut writer = claim(&cache.tier(), &layer).await;
    writer.write(layer.bytes.slice(..600)).await.unwrap();
    let partial = writer.partial().unwrap();
    writer.abort().await.unwrap();
    assert_eq!(partial.read_bytes(0, 1000).await.unwrap(), layer.bytes[..600]);
    assert_eq!(partial.len(), None);
}

#[tokio::test]
async fn a_layer_that_is_there_is_not_written_again() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 1000);
    fill(&tier, &layer).await;
    let Claim::Exists(reader) = tier.create(&layer.descriptor).await.unwrap() else {
        panic!("not found")
    };
    assert_eq!(read_all(&reader).await, layer.bytes);
    assert_eq!(cache.files(), Cache::files_of(&[&layer]));
}

#[tokio::test]
async fn a_damaged_layer_is_written_again_in_place() {
    for way in 0..2 {
        let cache = Cache::new();
        let tier = &both_ways(&cache)[way];
        let layer = Layer::new(1, 1000);
        fill(tier, &layer).await;
        fs::remove_file(cache.path(&layer, "decompressed")).unwrap();
        fs::write(cache.path(&layer, "decompressed"), "cut").unwrap();
        let reader = fill(tier, &layer).await;
        assert_eq!(read_all(&reader).await, layer.bytes);
        assert_eq!(read_all(&open(tier, &layer).await.unwrap()).await, layer.bytes);
        assert_eq!(cache.files(), Cache::files_of(&[&layer]));
    }
}

#[tokio::test]
async fn of_two_writers_either_wins_and_the_other_does_no_harm() {
    for way in 0..2 {
        let cache = Cache::new();
        let tier = &both_ways(&cache)[way];
        let layer = Layer::new(1, 1000);
        let mut first = claim(tier, &layer).await;
        // An operator removes the lock file, so that the layer can be claimed twice.
        fs::remove_file(cache.lock_path(&layer)).unwrap();
        let mut second = claim(tier, &layer).await;
        write(&mut *first, &layer).await.unwrap();
        write(&mut *second, &layer).await.unwrap();
        let first = first.commit(&layer.index).await.unwrap();
        assert!(
            cache.lock_path(&layer).exists(),
            "the lock of the second one is not the first one's to remove"
        );
        let second = second.commit(&layer.index).await.unwrap();
        for reader in [first, second, open(tier, &layer).await.unwrap()] {
            assert_eq!(read_all(&reader).await, layer.bytes);
        }
        assert_eq!(cache.files(), Cache::files_of(&[&layer]));
    }
}

#[tokio::test]
async fn an_index_of_other_bytes_commits_nothing() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 1000);
    for index in [&Layer::new(1, 999).index, &Layer::new(2, 1000).index] {
        let mut writer = claim(&tier, &layer).await;
        write(&mut *writer, &layer).await.unwrap();
        assert!(writer.commit(index).await.is_err());
        assert_eq!(cache.files(), [""; 0]);
    }
}

#[tokio::test]
async fn a_commit_that_fails_leaves_nothing() {
    for way in 0..2 {
        let cache = Cache::new();
        let tier = &both_ways(&cache)[way];
        let layer = Layer::new(1, 1000);
        let mut writer = claim(tier, &layer).await;
        write(&mut *writer, &layer).await.unwrap();
        // Nothing can be renamed or linked over a directory.
        fs::create_dir(cache.path(&layer, "decompressed")).unwrap();
        let error = writer.commit(&layer.index).await.unwrap_err();
        assert_eq!(error.layer(), Some(layer.digest()));
        fs::remove_dir(cache.path(&layer, "decompressed")).unwrap();
        assert!(!is_cached(tier, &layer).await);
        gc(tier, None).await.unwrap();
        assert_eq!(cache.files(), [""; 0]);
    }
}

/// Runs `work` on a runtime that has one thread for blocking work, which is busy until the sender is dropped: what is
/// polled once meanwhile has begun and is not done.
fn with_a_busy_blocking_pool<F: Future<Output = ()>>(
    work: impl FnOnce(Box<dyn FnOnce() -> Sender<()>>) -> F,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work(Box::new(|| {
        let (busy, wait) = channel();
        tokio::task::spawn_blocking(move || wait.recv());
        busy
    })));
}

#[test]
fn a_cancelled_write_spoils_the_writer_and_frees_the_layer() {
    with_a_busy_blocking_pool(|occupy| async {
        let cache = Cache::new();
        let tier = cache.tier();
        let layer = Layer::new(1, 1000);
        let mut writer = claim(&tier, &layer).await;
        let busy = occupy();
        assert!(writer.write(layer.bytes.slice(..600)).now_or_never().is_none());
        drop(busy);
        let error = writer.write(layer.bytes.slice(600..)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        // The lock is free although the spoilt writer still lives.
        fill(&tier, &layer).await;
        assert!(writer.commit(&layer.index).await.is_err());
        assert_eq!(read_all(&open(&tier, &layer).await.unwrap()).await, layer.bytes);
    });
}

#[test]
fn a_commit_cancelled_before_it_ran_leaves_nothing() {
    with_a_busy_blocking_pool(|occupy| async {
        let cache = Cache::new();
        let tier = cache.config().with_force_staging(true).open().unwrap();
        let layer = Layer::new(1, 1000);
        let mut writer = claim(&tier, &layer).await;
        write(&mut *writer, &layer).await.unwrap();
        let busy = occupy();
        assert!(writer.commit(&layer.index).now_or_never().is_none());
        drop(busy);
        assert!(!is_cached(&tier, &layer).await);
        assert_eq!(cache.files(), [""; 0]);
    });
}

#[test]
fn a_commit_cancelled_at_any_moment_is_all_or_nothing() {
    let cache = Cache::new();
    let layer = Layer::new(1, 300_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut writer = claim(&cache.tier(), &layer).await;
        write(&mut *writer, &layer).await.unwrap();
        drop(writer.commit(&layer.index).now_or_never());
    });
    // Waits for the blocking work.
    drop(runtime);
    let files = cache.files();
    assert!(
        files.is_empty() || files == Cache::files_of(&[&layer]),
        "{files:?}"
    );
}

#[tokio::test]
async fn what_dead_processes_left_goes_with_the_first_fill() {
    let cache = Cache::new();
    let (layer, dead, orphan) = (Layer::new(1, 1000), Layer::new(2, 1000), Layer::new(3, 1000));
    let live = Layer::new(4, 1000);
    fill(&cache.tier(), &orphan).await;
    let other = cache.config().with_force_staging(true).open().unwrap();
    let mut writing = claim(&other, &live).await;
    fs::remove_file(cache.path(&orphan, "decompressed")).unwrap();
    fs::write(cache.path(&orphan, "tarindex"), "").unwrap();
    fs::write(cache.dir().join("staging/1-1"), "half a layer").unwrap();
    fs::write(cache.lock_path(&dead), "1").unwrap();
    fs::write(cache.dir().join("lock/quota"), "1").unwrap();
    fs::write(cache.dir().join("notes.txt"), "an operator's").unwrap();

    let tier = cache.tier();
    assert!(!is_cached(&tier, &layer).await);
    assert!(
        cache.path(&orphan, "tarindex").exists(),
        "a look at every file of the cache is for those who fill it"
    );
    fill(&tier, &layer).await;
    let mut left = Cache::files_of(&[&layer]);
    left.push(format!("lock/{}", live.digest().hex()));
    left.push("notes.txt".into());
    let found: Vec<_> = cache
        .files()
        .into_iter()
        .filter(|file| !file.starts_with("staging/"))
        .collect();
    assert_eq!(found, left);
    // What a live process writes is not a leftover.
    write(&mut *writing, &live).await.unwrap();
    writing.commit(&live.index).await.unwrap();
    fs::remove_file(cache.dir().join("notes.txt")).unwrap();
    assert_eq!(cache.files(), Cache::files_of(&[&layer, &live]));
}

#[tokio::test]
async fn a_descriptor_without_a_diff_id_is_enough() {
    let cache = Cache::new();
    let tier = cache.tier();
    let mut layer = Layer::new(1, 1000);
    layer.descriptor = LayerDescriptor::new(*layer.digest());
    fill(&tier, &layer).await;
    assert!(is_cached(&tier, &layer).await);
}

#[tokio::test]
async fn what_a_process_killed_behind_its_commit_has_left_goes_although_nothing_is_filled() {
    let cache = Cache::new();
    let (there, under_way) = (Layer::new(1, 1000), Layer::new(2, 1000));
    let tier = cache.tier();
    fill(&tier, &there).await;
    let _writer = claim(&tier, &under_way).await;
    fs::write(cache.lock_path(&there), "4711").unwrap();
    fs::create_dir_all(cache.dir().join("staging")).unwrap();
    fs::write(cache.dir().join("staging/4711"), "part of a layer").unwrap();

    assert!(is_cached(&cache.tier(), &there).await);
    let mut expected = Cache::files_of(&[&there]);
    // The lock of who is alive stays.
    expected.push(format!("lock/{}", under_way.digest().hex()));
    expected.sort();
    assert_eq!(cache.files(), expected);
}

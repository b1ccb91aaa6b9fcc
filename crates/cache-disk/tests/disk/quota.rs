//! The limits: what is evicted for a new layer, what is not, and what is refused.

use std::fs;

use bytes::Bytes;
use cache_core::{Claim, ErrorKind, LayerDescriptor, Tier};
use cache_disk::DiskTier;
use cache_testkit::Recorded;

use crate::support::{Cache, Layer, claim, fill, is_cached, open, read_all, try_fill, write};

const LEN: usize = 100_000;

fn layers<const N: usize>() -> [Layer; N] {
    std::array::from_fn(|n| Layer::new(n as u64, LEN))
}

/// A tier with room for `count` layers of `LEN` bytes.
fn tier_for(cache: &Cache, count: u64) -> DiskTier {
    cache
        .config()
        .with_max_bytes(count * Layer::new(0, LEN).bytes_on_disk())
        .open()
        .unwrap()
}

fn free_bytes(cache: &Cache) -> u64 {
    let stat = rustix::fs::statvfs(cache.dir()).unwrap();
    stat.f_bavail * stat.f_frsize
}

#[tokio::test]
async fn the_least_recently_used_layers_go_and_no_more_than_needed() {
    let cache = Cache::new();
    let tier = tier_for(&cache, 3);
    let [a, b, c, d, e] = layers();
    for (layer, age) in [(&a, 300), (&b, 900), (&c, 600)] {
        fill(&tier, layer).await;
        cache.age(layer, age);
    }
    assert_eq!(tier.evicted_layers(), 0);
    fill(&tier, &d).await;
    assert_eq!(cache.files(), Cache::files_of(&[&a, &c, &d]));
    assert_eq!(tier.evicted_layers(), 1);
    // An open is a use: now `a` is the one that was not used for longest.
    assert!(is_cached(&tier, &c).await);
    fill(&tier, &e).await;
    assert_eq!(cache.files(), Cache::files_of(&[&c, &d, &e]));
    assert_eq!(tier.evicted_layers(), 2);
}

#[tokio::test]
async fn a_layer_as_large_as_the_quota_fits_and_one_byte_more_does_not() {
    let cache = Cache::new();
    let [old] = layers();
    let exact = Layer::new(1, 5 * LEN);
    let tier = cache
        .config()
        .with_max_bytes(exact.bytes_on_disk())
        .open()
        .unwrap();
    fill(&tier, &old).await;
    fill(&tier, &exact).await;
    assert_eq!(cache.files(), Cache::files_of(&[&exact]));

    let larger = Layer::new(2, 5 * LEN + 1);
    let error = try_fill(&tier, &larger).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("larger than the quota"), "{error}");
    assert!(
        is_cached(&tier, &exact).await,
        "nothing is evicted for what cannot fit"
    );
    assert_eq!(tier.evicted_layers(), 1);
}

#[tokio::test]
async fn a_layer_that_has_turned_out_too_large_is_not_written_again() {
    let cache = Cache::new();
    let tier = tier_for(&cache, 1);
    let [small, _] = layers();
    let large = Layer::new(2, 2 * LEN);
    for layer in [&small, &large] {
        assert_eq!(layer.descriptor.size, None, "nothing is known of its length");
    }
    fill(&tier, &small).await;
    let mut writer = claim(&tier, &large).await;
    let error = write(&mut *writer, &large).await.unwrap_err();
    assert!(error.to_string().contains("larger than the quota"), "{error}");
    drop(writer);
    let error = tier.create(&large.descriptor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("larger than the quota"), "{error}");
    assert!(is_cached(&tier, &small).await);
    assert_eq!(tier.evicted_layers(), 0);
}

/// Without the lock nobody knows whether there is room: others may be about to take it.
#[tokio::test]
async fn no_layer_appears_while_a_stopped_process_holds_the_quota() {
    let cache = Cache::new();
    let tier = tier_for(&cache, 3);
    let [old, new] = layers();
    fill(&tier, &old).await;
    let path = cache.dir().join("lock/quota");
    let held = fs::File::create(&path).unwrap();
    held.lock().unwrap();
    fs::write(&path, "4711").unwrap();
    let error = try_fill(&tier, &new).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("process 4711"), "{error}");
    drop(held);
    fs::remove_file(path).unwrap();
    assert_eq!(cache.files(), Cache::files_of(&[&old]));
    fill(&tier, &new).await;
}

#[tokio::test]
async fn a_blob_larger_than_the_quota_is_not_even_claimed() {
    let cache = Cache::new();
    let tier = tier_for(&cache, 1);
    let layer = LayerDescriptor::new(*Layer::new(1, 1).digest()).with_size(1 << 40);
    let error = tier.create(&layer).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("larger than the quota"), "{error}");
}

#[tokio::test]
async fn a_fill_that_is_given_up_evicts_nothing_for_the_quota() {
    let cache = Cache::new();
    let tier = tier_for(&cache, 1);
    let [old, new] = layers();
    fill(&tier, &old).await;
    let mut writer = claim(&tier, &new).await;
    write(&mut *writer, &new).await.unwrap();
    writer.abort().await.unwrap();
    assert_eq!(cache.files(), Cache::files_of(&[&old]));
}

#[tokio::test]
async fn a_busy_layer_is_not_evicted() {
    let cache = Cache::new();
    let tier = tier_for(&cache, 2);
    let [busy, idle, new] = layers();
    for (layer, age) in [(&busy, 900), (&idle, 300)] {
        fill(&tier, layer).await;
        cache.age(layer, age);
    }
    // Somebody removes or refills it: the file is there and its lock is taken.
    let lock = fs::File::create(cache.lock_path(&busy)).unwrap();
    lock.lock().unwrap();
    fill(&tier, &new).await;
    assert!(is_cached(&tier, &busy).await);
    assert!(!is_cached(&tier, &idle).await);

    let [_, _, _, another] = layers();
    cache.age(&new, 100);
    let lock_of_new = fs::File::create(cache.lock_path(&new)).unwrap();
    lock_of_new.lock().unwrap();
    let error = try_fill(&tier, &another).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(is_cached(&tier, &new).await && is_cached(&tier, &busy).await);
    assert!(!is_cached(&tier, &another).await);
}

#[tokio::test]
async fn evicted_layers_stay_readable_for_who_has_them_open() {
    let cache = Cache::new();
    let tier = tier_for(&cache, 1);
    let [old, new] = layers();
    fill(&tier, &old).await;
    let reader = open(&tier, &old).await.unwrap();
    fill(&tier, &new).await;
    assert!(!is_cached(&tier, &old).await);
    assert_eq!(read_all(&reader).await, old.bytes);
}

#[tokio::test]
async fn companions_count_and_go_with_their_layer() {
    let cache = Cache::new();
    let tier = tier_for(&cache, 2);
    let [old, new, newest] = layers();
    fill(&tier, &old).await;
    tier.write_companion(old.digest(), "tarindex", Bytes::from(vec![1; LEN]))
        .await
        .unwrap();
    cache.age(&old, 900);
    let usage = tier.usage().await.unwrap();
    assert_eq!((usage.layers, usage.bytes), (1, old.bytes_on_disk() + LEN as u64));
    // Without the companion there would be room for both.
    fill(&tier, &new).await;
    assert_eq!(cache.files(), Cache::files_of(&[&new]));
    cache.age(&new, 600);
    fill(&tier, &newest).await;
    // A companion is made room for as well, but never by evicting its own layer.
    cache.age(&newest, 900);
    tier.write_companion(newest.digest(), "tarindex", Bytes::from_static(b"x"))
        .await
        .unwrap();
    assert!(is_cached(&tier, &newest).await && !is_cached(&tier, &new).await);
    let error = tier
        .write_companion(newest.digest(), "tarindex", vec![0; 2 * LEN].into())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let kept = tier
        .read_companion(newest.digest(), "tarindex", 10)
        .await
        .unwrap();
    assert_eq!(kept.unwrap(), "x");
    assert_eq!(cache.files().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_quota_holds_when_many_commit_at_once() {
    let cache = Cache::new();
    let all: [Layer; 12] = layers();
    let limit = 3 * all[0].bytes_on_disk() + 1000;
    let fills: Vec<_> = all
        .into_iter()
        .map(|layer| {
            let tier = cache.config().with_max_bytes(limit).open().unwrap();
            tokio::spawn(async move {
                fill(&tier, &layer).await;
                assert!(tier.usage().await.unwrap().bytes <= limit);
            })
        })
        .collect();
    for fill in fills {
        fill.await.unwrap();
    }
    assert_eq!(cache.tier().usage().await.unwrap().layers, 3);
}

/// One that is there belongs to whoever has filled it for a moment longer, and is no reason to give up on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_that_race_for_the_room_of_one_both_are_committed() {
    let cache = Cache::new();
    let tier = tier_for(&cache, 1);
    for _ in 0..50 {
        let [a, b] = layers();
        let [one, other] = [&a, &b].map(|layer| try_fill(&tier, layer));
        let (one, other) = tokio::join!(one, other);
        one.unwrap();
        other.unwrap();
        tier.clear().await.unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_cannot_be_freed_takes_no_layer_and_loses_none() {
    let cache = Cache::new();
    let [old, new] = layers();
    fill(&cache.tier(), &old).await;
    let tier = cache.config().with_min_free_bytes(u64::MAX).open().unwrap();
    let error = try_fill(&tier, &new).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("the disk is full"), "{error}");
    let error = tier
        .write_companion(old.digest(), "tarindex", Bytes::from_static(b"x"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(is_cached(&tier, &old).await);
    assert_eq!(cache.files(), Cache::files_of(&[&old]));
}

#[tokio::test]
async fn layers_are_evicted_while_writing_to_leave_the_disk_as_free_as_asked() {
    const BIG: usize = 64 << 20;
    let cache = Cache::new();
    let (old, recent, new) = (Layer::new(1, BIG), Layer::new(2, BIG), Layer::new(3, 1 << 20));
    for (layer, age) in [(&old, 900), (&recent, 300)] {
        fill(&cache.tier(), layer).await;
        cache.age(layer, age);
    }
    // Less is free than asked, by half of what a layer takes: others use the same disk, so that it can only be about.
    let tier = cache
        .config()
        .with_min_free_bytes(free_bytes(&cache) + BIG as u64 / 2)
        .open()
        .unwrap();
    let Claim::Write(mut writer) = tier.create(&new.descriptor).await.unwrap() else {
        panic!("not there")
    };
    writer.write(new.bytes.clone()).await.unwrap();
    assert!(!is_cached(&tier, &old).await, "before the commit");
    writer.commit(&new.index).await.unwrap();
    assert!(is_cached(&tier, &recent).await && is_cached(&tier, &new).await);
}

#[tokio::test]
async fn evictions_and_what_is_on_the_disk_are_told_to_the_metrics() {
    let recorded = Recorded::default();
    let _listening = recorded.listen();
    let cache = Cache::new();
    let tier = tier_for(&cache, 2);
    let bytes_on_disk = Layer::new(0, LEN).bytes_on_disk() as f64;
    let value = |name: &str| recorded.value(&format!("layercache_{name}"), &[("tier", "disk")]);
    assert_eq!(value("disk_max_bytes"), 2.0 * bytes_on_disk);
    assert_eq!(value("disk_min_free_bytes"), 0.0);
    assert!(
        !recorded.names().contains("layercache_disk_bytes"),
        "nobody has looked yet"
    );
    for layer in layers::<3>() {
        fill(&tier, &layer).await;
    }
    assert_eq!(
        (value("evictions_total"), value("evicted_bytes_total")),
        (1.0, bytes_on_disk)
    );
    tier.sample_metrics().await.unwrap();
    let usage = tier.usage().await.unwrap();
    assert_eq!(
        (value("disk_layers"), value("disk_bytes")),
        (2.0, 2.0 * bytes_on_disk)
    );
    // Others write to the same file system meanwhile.
    let share = value("disk_free_bytes") / usage.free_bytes as f64;
    assert!((0.5..2.0).contains(&share), "{share}");
    fs::remove_dir_all(cache.dir()).unwrap();
    fs::write(cache.dir(), "no directory").unwrap();
    tier.sample_metrics().await.unwrap_err();
    assert!(value("disk_bytes").is_nan() && value("disk_free_bytes").is_nan());
}

//! One fill of a layer at a time on the host, and how long others wait for it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_core::{Claim, ErrorKind, Tier};
use cache_disk::DiskTier;

use crate::support::{Cache, Layer, claim, read_all, set_age, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_tasks_one_writes_and_all_read_what_it_wrote() {
    let cache = Cache::new();
    let layer = Layer::new(1, 300_000);
    // The same tier, a clone of it, and tiers of their own as other processes have.
    let shared = cache.tier();
    let writes = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let tier = if n % 2 == 0 { shared.clone() } else { cache.tier() };
            let (layer, writes) = (layer.clone(), Arc::clone(&writes));
            tokio::spawn(async move {
                match tier.create(&layer.descriptor).await.unwrap() {
                    Claim::Exists(reader) => read_all(&reader).await,
                    Claim::Write(mut writer) => {
                        writes.fetch_add(1, SeqCst);
                        write(&mut *writer, &layer).await.unwrap();
                        read_all(&writer.commit(&layer.index).await.unwrap()).await
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), layer.bytes);
    }
    assert_eq!(writes.load(SeqCst), 1);
    assert_eq!(cache.files(), Cache::files_of(&[&layer]));
}

async fn waiting(tier: &DiskTier, layer: &Layer) -> tokio::task::JoinHandle<cache_core::Result<Claim>> {
    let (tier, layer) = (tier.clone(), layer.clone());
    let task = tokio::spawn(async move { tier.create(&layer.descriptor).await });
    tokio::task::yield_now().await;
    task
}

#[tokio::test]
async fn whoever_waits_gets_the_layer_or_the_claim() {
    let cache = Cache::new();
    let tier = cache.tier();
    let (committed, dropped) = (Layer::new(1, 1000), Layer::new(2, 1000));
    let mut writer = claim(&tier, &committed).await;
    let waiter = waiting(&tier, &committed).await;
    write(&mut *writer, &committed).await.unwrap();
    writer.commit(&committed.index).await.unwrap();
    assert!(matches!(waiter.await.unwrap().unwrap(), Claim::Exists(_)));

    let writer = claim(&tier, &dropped).await;
    let waiter = waiting(&tier, &dropped).await;
    drop(writer);
    assert!(matches!(waiter.await.unwrap().unwrap(), Claim::Write(_)));
}

#[tokio::test]
async fn different_layers_do_not_wait_for_each_other() {
    let cache = Cache::new();
    let tier = cache.tier();
    let first = claim(&tier, &Layer::new(1, 1)).await;
    let second = claim(&tier, &Layer::new(2, 1)).await;
    drop((first, second));
}

#[tokio::test]
async fn a_holder_without_a_heartbeat_is_given_up_by_name() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 1000);
    let mut writer = claim(&tier, &layer).await;
    set_age(&cache.lock_path(&layer), 3600);
    let error = tier.create(&layer.descriptor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.layer(), Some(layer.digest()));
    assert!(
        error
            .to_string()
            .contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    // It is not robbed: when it goes on, it commits.
    write(&mut *writer, &layer).await.unwrap();
    writer.commit(&layer.index).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_stands_still_is_given_up_whatever_the_clock_says() {
    let cache = Cache::new();
    let tier = cache
        .config()
        .with_lock_patience(Duration::from_secs(600))
        .open()
        .unwrap();
    let layer = Layer::new(1, 1000);
    let _writer = claim(&tier, &layer).await;
    // As from a file server whose clock is ahead: the age of the heartbeat says nothing.
    let ahead = std::time::SystemTime::now() + Duration::from_secs(86_400);
    fs::File::open(cache.lock_path(&layer))
        .unwrap()
        .set_modified(ahead)
        .unwrap();
    let started = tokio::time::Instant::now();
    let error = tier.create(&layer.descriptor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        started.elapsed() > Duration::from_secs(600),
        "paused time: what was waited, not what it took"
    );
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_makes_progress_is_waited_for() {
    let cache = Cache::new();
    let tier = cache
        .config()
        .with_lock_patience(Duration::from_secs(60))
        .open()
        .unwrap();
    let layer = Layer::new(1, 1000);
    let mut writer = claim(&tier, &layer).await;
    let waiter = waiting(&tier, &layer).await;
    for beat in 0..20 {
        tokio::time::sleep(Duration::from_secs(40)).await;
        set_age(&cache.lock_path(&layer), beat % 2);
    }
    assert!(!waiter.is_finished());
    write(&mut *writer, &layer).await.unwrap();
    writer.commit(&layer.index).await.unwrap();
    assert!(matches!(waiter.await.unwrap().unwrap(), Claim::Exists(_)));
}

#[tokio::test]
async fn writing_is_a_heartbeat() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 1000);
    let mut writer = claim(&tier, &layer).await;
    let beat = || fs::metadata(cache.lock_path(&layer)).unwrap().modified().unwrap();
    set_age(&cache.lock_path(&layer), 3600);
    let old = beat();
    // At most once a second, so it takes that long for a write to count.
    while beat() == old {
        writer.write(bytes::Bytes::new()).await.unwrap();
    }
    assert!(beat() > old);
}

#[tokio::test]
async fn a_lock_file_that_vanishes_excludes_all_the_same() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 1000);
    for _ in 0..50 {
        // Claims and releases race: each release removes the file that the other has just opened.
        let claims = [0, 1].map(|_| {
            let (tier, layer) = (tier.clone(), layer.clone());
            tokio::spawn(async move {
                let writer = claim(&tier, &layer).await;
                assert!(fs::read_to_string(tier.dir().join("lock").join(layer.digest().hex())).is_ok());
                writer.abort().await.unwrap();
            })
        });
        for claim in claims {
            claim.await.unwrap();
        }
    }
    assert_eq!(cache.files(), [""; 0]);
}

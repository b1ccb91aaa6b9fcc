//! Several processes that fill one directory with more than its quota has room for.
//!
//! The test binary runs itself: a child is told by its environment what to do.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cache_core::ErrorKind;
use cache_disk::DiskConfig;

use crate::support::{Cache, Layer, gc, open, read_all, try_fill};

const DIR: &str = "CACHE_DISK_TEST_PRESSURE_DIR";
const SEED: &str = "CACHE_DISK_TEST_PRESSURE_SEED";
const STAGING: &str = "CACHE_DISK_TEST_PRESSURE_STAGING";

const MAX_BYTES: u64 = 500_000;
const PROCESSES: u64 = 4;
const FILLS: u64 = 60;

/// One of the layers that all of them fill: from 10 kB to twice what there is room for.
fn layer(number: u64) -> Layer {
    let len = match number % 16 {
        0 => 2 * MAX_BYTES,
        other => 10_000 + other * 12_000,
    };
    Layer::new(number % 16, len as usize)
}

/// The children's part; without its environment there is nothing to do.
#[tokio::test]
async fn child_process() {
    let (Ok(dir), Ok(seed)) = (std::env::var(DIR), std::env::var(SEED)) else {
        return;
    };
    let tier = DiskConfig::new(dir)
        .with_min_free_bytes(0)
        .with_max_bytes(MAX_BYTES)
        .with_force_staging(std::env::var(STAGING).unwrap() == "true")
        .open()
        .unwrap();
    let mut random = fastrand::Rng::with_seed(seed.parse().unwrap());
    for _ in 0..FILLS {
        let layer = layer(random.u64(..));
        match try_fill(&tier, &layer).await {
            Ok(reader) => assert!(read_all(&reader).await == layer.bytes),
            // It is too long, or all that could make room are being filled.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
        if let Some(reader) = open(&tier, &layer).await {
            assert!(read_all(&reader).await == layer.bytes);
        }
    }
    println!("evicted {}", tier.evicted_layers());
}

fn child(cache: &Cache, seed: u64, staging: bool) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "pressure::child_process", "--nocapture"])
        .env(DIR, cache.dir())
        .env(SEED, seed.to_string())
        .env(STAGING, staging.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// The files of layers with their inodes and lengths.
fn files(dir: &Path) -> BTreeMap<u64, u64> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if let Ok(metadata) = entry.metadata()
            && metadata.is_file()
        {
            files.insert(metadata.ino(), metadata.len());
        }
    }
    files
}

/// Bytes that were there at one moment: what was there before that and after.
fn sample(dir: &Path) -> u64 {
    let before = files(dir);
    let after = files(dir);
    let there = before.iter().filter(|(inode, _)| after.contains_key(inode));
    there.map(|(_, len)| len).sum()
}

#[test]
fn the_quota_holds_at_every_moment_however_many_processes_fill() {
    for staging in [false, true] {
        let cache = Cache::in_memory();
        let mut children: Vec<Child> = (0..PROCESSES).map(|seed| child(&cache, seed, staging)).collect();
        let (mut most, mut samples) = (0, 0u64);
        while children
            .iter_mut()
            .any(|child| child.try_wait().unwrap().is_none())
        {
            most = most.max(sample(&cache.dir()));
            samples += 1;
            assert!(most <= MAX_BYTES, "{most} bytes");
        }
        let mut evicted = 0;
        for mut child in children {
            let mut said = String::new();
            child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
            assert!(child.wait().unwrap().success(), "{said}");
            let count = said
                .split("evicted ")
                .nth(1)
                .and_then(|rest| rest.split_whitespace().next());
            evicted += count.unwrap().parse::<u64>().unwrap();
        }
        // The directory was full, or nothing was shown.
        assert!(
            most > MAX_BYTES / 2 && samples > 10,
            "{most} bytes in {samples} samples"
        );
        assert!(evicted > PROCESSES, "{evicted}");
        assert!(!cache.path(&layer(0), "decompressed").exists());
        let tier = cache.config().with_max_bytes(MAX_BYTES).open().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let report = runtime.block_on(gc(&tier, None)).unwrap();
        assert_eq!((report.removed_leftovers, report.removed_layers), (0, 0));
    }
}

//! Several processes on one directory, and what a killed one leaves behind.
//!
//! The test binary runs itself: a child is told by its environment what to do.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use cache_core::{Claim, Tier};
use cache_disk::DiskConfig;

use crate::support::{Cache, Layer, claim, fill, is_cached, open, read_all, try_fill, write};

const DIR: &str = "CACHE_DISK_TEST_DIR";
const ROLE: &str = "CACHE_DISK_TEST_ROLE";

fn layer() -> Layer {
    Layer::new(7, 6_000_000)
}

fn child(cache: &Cache, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::child_process", "--nocapture"])
        .env(DIR, cache.dir())
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// The line that starts with `word` in what the child says.
fn wait_for(child: &mut Child, word: &str) {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().contains(word)),
        "the child never said {word}"
    );
}

/// The children's part; without its environment there is nothing to do.
#[tokio::test]
async fn child_process() {
    let (Ok(dir), Ok(role)) = (std::env::var(DIR), std::env::var(ROLE)) else {
        return;
    };
    let layer = layer();
    let staging = role.contains("staging");
    let tier = DiskConfig::new(dir)
        .with_min_free_bytes(0)
        .with_force_staging(staging)
        .open()
        .unwrap();
    if role.starts_with("fill") {
        match tier.create(&layer.descriptor).await.unwrap() {
            Claim::Exists(reader) => assert_eq!(read_all(&reader).await, layer.bytes),
            Claim::Write(mut writer) => {
                println!("filled");
                write(&mut *writer, &layer).await.unwrap();
                writer.commit(&layer.index).await.unwrap();
            }
        }
    } else if role.starts_with("hold") {
        let mut writer = claim(&tier, &layer).await;
        write(&mut *writer, &layer).await.unwrap();
        println!("written");
        std::future::pending::<()>().await;
    } else {
        println!("looping");
        loop {
            try_fill(&tier, &layer).await.unwrap();
            tier.remove(layer.digest()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn of_many_processes_one_fills() {
    let layer = layer();
    let cache = Cache::new();
    let children: Vec<Child> = (0..6).map(|_| child(&cache, "fill")).collect();
    let mut fills = 0;
    for mut child in children {
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(child.wait().unwrap().success(), "{said}");
        fills += said.matches("filled").count();
    }
    assert_eq!(fills, 1);
    assert_eq!(cache.files(), Cache::files_of(&[&layer]));
}

#[tokio::test]
async fn a_killed_process_holds_nothing_and_leaves_nothing_for_long() {
    let layer = layer();
    for role in ["hold", "hold staging"] {
        let cache = Cache::new();
        let mut holder = child(&cache, role);
        wait_for(&mut holder, "written");
        assert!(cache.lock_path(&layer).exists());
        holder.kill().unwrap();
        holder.wait().unwrap();
        let tier = cache.tier();
        assert!(!is_cached(&tier, &layer).await);
        let reader = fill(&tier, &layer).await;
        assert_eq!(read_all(&reader).await, layer.bytes);
        assert_eq!(cache.files(), Cache::files_of(&[&layer]));
    }
}

#[tokio::test]
async fn processes_killed_at_any_moment_leave_right_bytes_or_none() {
    let layer = layer();
    for role in ["loop", "loop staging"] {
        let cache = Cache::new();
        for round in 0..8u32 {
            let mut looping = child(&cache, role);
            wait_for(&mut looping, "looping");
            // Not a wait for anything: the moment of the kill is the point, and differs from round to round.
            std::thread::sleep(std::time::Duration::from_millis(u64::from(round) * 13));
            looping.kill().unwrap();
            looping.wait().unwrap();
            let tier = cache.tier();
            if let Some(reader) = open(&tier, &layer).await {
                assert_eq!(read_all(&reader).await, layer.bytes);
            }
        }
        let tier = cache.tier();
        fill(&tier, &layer).await;
        assert_eq!(cache.files(), Cache::files_of(&[&layer]));
        let size = fs::metadata(cache.path(&layer, "decompressed")).unwrap().len();
        assert_eq!(size, layer.bytes.len() as u64);
    }
}

//! How much memory an upload takes. The test binary runs itself: the peak of a process is that of all its tests.

use std::process::Command;

use bytes::Bytes;
use cache_core::index::IndexBuilder;
use cache_core::{Algorithm, Claim, Digest, LayerDescriptor, Tier};

use crate::support::{prefix, server, tier_at};

const ROLE: &str = "CACHE_S3_TEST_UPLOAD";
const LAYERS: u64 = 3;
const LAYER_LEN: usize = 150 << 20;
/// Two parts of 5 MiB, the client and a test binary; one layer alone would be far beyond it.
const MAX_PEAK_KB: u64 = 64 << 10;

/// The child's part; without its environment there is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_process() {
    let Ok(prefix) = std::env::var(ROLE) else { return };
    let tier = tier_at(server(), &prefix);
    let uploads = (0..LAYERS).map(|number| {
        let tier = tier.clone();
        tokio::spawn(async move {
            let digest = Digest::sha256_of(&number.to_le_bytes());
            let Claim::Write(mut writer) = tier.create(&LayerDescriptor::new(digest)).await.unwrap() else {
                panic!("the layer is there already");
            };
            let mut index = IndexBuilder::new(Algorithm::Sha256);
            let piece = Bytes::from(vec![number as u8; 128 << 10]);
            for _ in 0..LAYER_LEN / piece.len() {
                index.update(&piece);
                writer.write(piece.clone()).await.unwrap();
            }
            writer.commit(&index.finish(digest)).await.unwrap();
            tier.remove(&digest).await.unwrap();
        })
    });
    for upload in futures_util::future::join_all(uploads).await {
        upload.unwrap();
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    println!("{status}");
    println!("peak={}", peak.trim().trim_end_matches(" kB"));
}

#[test]
fn the_memory_of_uploads_is_bounded_for_the_whole_tier() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::child_process", "--nocapture"])
        .env(ROLE, prefix())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&child.stderr)
    );
    let peak = said.split("peak=").nth(1).expect("the child tells its peak");
    let peak: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    assert!(peak < MAX_PEAK_KB, "{peak} KiB");
}

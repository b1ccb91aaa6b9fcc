//! What a process does to a cache directory until it crashes: the test binary runs itself, and is told by its environment.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use cache_core::{Claim, Tier};
use cache_disk::{DiskConfig, DiskTier, ImageRecord};
use cache_testkit::crash::{Call, Strace};

use super::check::History;
use crate::support::{Cache, Layer, gc};

const SCRIPT: &str = "CACHE_DISK_TEST_SCRIPT";
const DIR: &str = "CACHE_DISK_TEST_SCRIPT_DIR";
const MAX_BYTES: &str = "CACHE_DISK_TEST_SCRIPT_MAX_BYTES";
const STAGING: &str = "CACHE_DISK_TEST_SCRIPT_STAGING";

/// How many layers there are, numbered from 1.
pub(super) const LAYERS: u64 = 3;
const LAYER_LEN: usize = 30_000;
/// What is written at once.
const PIECE_LEN: usize = 10_000;

pub(super) fn layer(number: u64) -> Layer {
    Layer::new(number, LAYER_LEN)
}

/// What a layer's file holds when the process starts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Before {
    /// The layer.
    Good(u64),
    /// Other bytes, and no index.
    Damaged(u64),
    /// The layer without its index.
    NoIndex(u64),
    /// Other bytes next to the right index: what a failing disk makes of a layer, and no open notices.
    Rotten(u64),
}

/// What is there, and what a process then does.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) before: &'static [Before],
    /// Operations with their arguments, divided by commas.
    pub(super) script: &'static str,
    /// How many layers the quota has room for.
    pub(super) room_for: Option<u64>,
    pub(super) staging: bool,
}

/// Every operation of a consumer, in a directory with room for all.
pub(super) const FILLING: Scenario =
    Scenario::new(&[], "fill 1, tree 1, fill 2, remove 1, fill 1, fill 2, clear");
/// A quota, and an operator who wants less.
pub(super) const EVICTING: Scenario = Scenario {
    room_for: Some(2),
    ..Scenario::new(
        &[Before::Good(1)],
        "tree 1, fill 2, tree 2, fill 3, gc 40000, fill 1",
    )
};
/// What is found damaged when it is to be filled.
pub(super) const REPAIRING: Scenario =
    Scenario::new(&[Before::Damaged(1), Before::Good(2)], "fill 1, tree 1, tree 1");
/// What others have found to be wrong, and an index that is lost.
pub(super) const REMOVING: Scenario = Scenario::new(
    &[Before::Rotten(1), Before::Damaged(2), Before::NoIndex(3)],
    "remove 1, fill 1, open 2, open 3, clear",
);

/// An operator who looks at what is wrong, and keeps what he needs.
pub(super) const QUARANTINING: Scenario = Scenario::new(
    &[Before::Rotten(1), Before::Good(2)],
    "pin 2, quarantine 1, fill 1, unpin 2, gc 70000",
);

impl Scenario {
    const fn new(before: &'static [Before], script: &'static str) -> Self {
        Self {
            before,
            script,
            room_for: None,
            staging: false,
        }
    }

    /// With and without names for files being written.
    pub(super) fn both_ways(&self) -> [Self; 2] {
        [false, true].map(|staging| Self {
            staging,
            ..self.clone()
        })
    }

    /// A directory as it is before the process starts, and what is known of its layers.
    pub(super) async fn prepare(&self) -> (Cache, History) {
        let cache = Cache::in_memory();
        let mut history = History::default();
        for before in self.before {
            let (Before::Good(number)
            | Before::NoIndex(number)
            | Before::Damaged(number)
            | Before::Rotten(number)) = *before;
            let layer = layer(number);
            crate::support::fill(&cache.tier(), &layer).await;
            cache.age(&layer, 1000);
            if matches!(before, Before::Damaged(_) | Before::Rotten(_)) {
                let path = cache.path(&layer, "decompressed");
                std::fs::remove_file(&path).unwrap();
                std::fs::write(path, [0; LAYER_LEN]).unwrap();
            }
            match before {
                Before::Good(_) => drop(history.promised.insert(number)),
                Before::Damaged(_) | Before::NoIndex(_) => {
                    std::fs::remove_file(cache.path(&layer, "index")).unwrap()
                }
                Before::Rotten(_) => drop(history.rotten.insert(number)),
            }
        }
        (cache, history)
    }

    /// Runs the process to its end, whatever that is; whether it has ended well, and what it did.
    pub(super) fn run(&self, cache: &Cache, strace: Strace) -> (bool, Vec<Call>) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "crash::script::process", "--nocapture"])
            .env(SCRIPT, self.script)
            .env(DIR, cache.dir())
            .env(STAGING, self.staging.to_string());
        if let Some(layers) = self.room_for {
            command.env(
                MAX_BYTES,
                (layers * (layer(1).bytes_on_disk() + 1000)).to_string(),
            );
        }
        let mut command = strace.command(&command);
        let ended = command.stdout(Stdio::null()).status().unwrap();
        (ended.success(), strace.trace())
    }
}

/// Where strace may write its log.
pub(super) fn log(cache: &Cache) -> PathBuf {
    cache.dir().with_file_name("strace.log")
}

/// The process; without its environment there is nothing to do.
#[test]
fn process() {
    let (Ok(script), Ok(dir)) = (std::env::var(SCRIPT), std::env::var(DIR)) else {
        return;
    };
    let max_bytes = std::env::var(MAX_BYTES).ok().map(|max| max.parse().unwrap());
    let config = DiskConfig::new(dir)
        .with_min_free_bytes(0)
        .with_max_bytes(max_bytes)
        .with_force_staging(std::env::var(STAGING).unwrap() == "true");
    // All that is done to the directory is done by one thread: calls come in the same order each time.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let opened = tokio::task::spawn_blocking(|| config.open()).await.unwrap();
        let Ok(tier) = opened else {
            return println!("failed to open");
        };
        for operation in script.split(", ") {
            match perform(&tier, operation).await {
                Ok(()) => println!("did {operation}"),
                Err(error) => println!("failed to {operation}: {error}"),
            }
        }
    });
}

async fn perform(tier: &DiskTier, operation: &str) -> cache_core::Result<()> {
    let (verb, number) = operation.split_once(' ').unwrap_or((operation, "0"));
    let number: u64 = number.parse().unwrap();
    let layer = layer(number);
    match verb {
        "fill" => fill(tier, &layer).await,
        "tree" => {
            let tree = vec![b't'; 500].into();
            tier.write_companion(layer.digest(), "tree", tree).await
        }
        "open" => crate::support::try_open(tier, &layer).await.map(drop),
        "remove" => tier.remove(layer.digest()).await.map(drop),
        "quarantine" => tier.quarantine(layer.digest()).await.map(drop),
        "pin" => {
            let image = ImageRecord::new("image", "linux/amd64", vec![*layer.digest()]);
            tier.record_image(image.with_pinned(true)).await
        }
        "unpin" => tier.unpin_image("image", "linux/amd64").await.map(drop),
        "gc" => gc(tier, Some(number)).await.map(drop),
        "clear" => tier.clear().await.map(drop),
        other => panic!("there is no operation {other}"),
    }
}

async fn fill(tier: &DiskTier, layer: &Layer) -> cache_core::Result<()> {
    let Claim::Write(mut writer) = tier.create(&layer.descriptor).await? else {
        return Ok(());
    };
    let mut rest = layer.bytes.clone();
    while !rest.is_empty() {
        writer.write(rest.split_to(PIECE_LEN.min(rest.len()))).await?;
    }
    writer.commit(&layer.index).await.map(drop)
}

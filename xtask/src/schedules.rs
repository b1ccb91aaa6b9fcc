//! `cargo xtask schedules`: tells the stories that have to hold in any order of events under many of them.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use lab::dirs;
use xshell::{Shell, cmd};

/// What the names of the stories have in common, which are the only tests that can run when a scheduler is in charge.
pub(crate) const STORIES: &str = "stories::";

/// The stories that are told, and how.
#[derive(Args, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// A part of the names of the stories; all of them by default
    pub(crate) story: Option<String>,
    /// How many schedules of each kind are tried: 1,000 by default
    #[arg(long, value_name = "N")]
    pub(crate) iterations: Option<usize>,
    /// The one schedule to try, in the file that a failure has left
    #[arg(long, value_name = "FILE", requires = "story")]
    pub(crate) replay: Option<PathBuf>,
}

/// Builds the stories in a target directory of their own, for flags of the compiler change everything,
/// and tells them.
///
/// The schedule of a failure is kept in a file, which the output names.
pub(crate) fn run(sh: &Shell, order: &Order) -> Result<()> {
    let target = dirs::target(sh)?.join("schedules");
    let failed = target.join("failed");
    std::fs::create_dir_all(&failed)?;
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let story = order.story.as_deref().unwrap_or(STORIES);
    let mut stories = cmd!(
        sh,
        "cargo test --locked --quiet --package cache-core --lib --test schedules -- {story}"
    )
    .env("RUSTFLAGS", format!("{flags} --cfg shuttle"))
    .env("CARGO_TARGET_DIR", target)
    // Each failure is one of many schedules: what it is called by says nothing.
    .env("RUST_BACKTRACE", "0")
    .env("LAYERCACHE_SCHEDULES_FAILED", failed);
    if let Some(iterations) = order.iterations {
        stories = stories.env("LAYERCACHE_SCHEDULES", iterations.to_string());
    }
    if let Some(schedule) = &order.replay {
        let schedule = schedule
            .canonicalize()
            .with_context(|| format!("no schedule {}", schedule.display()))?;
        stories = stories.env("LAYERCACHE_SCHEDULE", schedule);
    }
    stories.run().context(
        "a story does not hold under every schedule: `cargo xtask schedules STORY --replay FILE` tells it again in the same order",
    )
}

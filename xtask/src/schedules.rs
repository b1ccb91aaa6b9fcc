//! `cargo xtask schedules`: tells the stories that have to hold in any order of events under many of them.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use xshell::{Shell, cmd};

use crate::dirs;

/// Where the stories are, and the only tests that can run when a scheduler is in charge.
pub(crate) const STORIES: &str = "cache::schedules::";

/// What is to be told, and how.
#[derive(Debug, Default, PartialEq, Eq)]
struct Order {
    /// A part of the names of the stories.
    story: Option<String>,
    /// How many schedules of each kind are tried.
    iterations: Option<usize>,
    /// The one schedule to be tried.
    replay: Option<PathBuf>,
}

impl Order {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut order = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--iterations" => {
                    order.iterations = Some(value()?.parse().context("--iterations is a number")?)
                }
                "--replay" => order.replay = Some(value()?.into()),
                option if option.starts_with('-') => bail!("no option {option}"),
                story => order.story = Some(story.to_owned()),
            }
        }
        ensure!(
            order.replay.is_none() || order.story.is_some(),
            "a schedule is one of a story: name it"
        );
        Ok(order)
    }
}

/// Builds the stories in a target directory of their own, for flags of the compiler change everything, and tells them. The schedule of a
/// failure is kept in a file, which the output names.
pub(crate) fn run(sh: &Shell, arguments: &[String]) -> Result<()> {
    let order = Order::parse(arguments)?;
    let target = dirs::target(sh)?.join("schedules");
    let failed = target.join("failed");
    std::fs::create_dir_all(&failed)?;
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let story = order.story.as_deref().unwrap_or(STORIES);
    let mut stories = cmd!(
        sh,
        "cargo test --locked --quiet --package cache-core --lib -- {story}"
    )
    .env("RUSTFLAGS", format!("{flags} --cfg shuttle"))
    .env("CARGO_TARGET_DIR", target)
    // Each failure is one of many schedules: what it is called by says nothing.
    .env("RUST_BACKTRACE", "0")
    .env("LAYERCACHE_SCHEDULES_FAILED", failed);
    if let Some(iterations) = order.iterations {
        stories = stories.env("LAYERCACHE_SCHEDULES", iterations.to_string());
    }
    if let Some(schedule) = order.replay {
        let schedule = schedule
            .canonicalize()
            .with_context(|| format!("no schedule {}", schedule.display()))?;
        stories = stories.env("LAYERCACHE_SCHEDULE", schedule);
    }
    stories.run().context(
        "a story does not hold under every schedule: `cargo xtask schedules STORY --replay FILE` tells it again in the same order",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Order> {
        Order::parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn an_order_says_what_is_told_and_how_often() {
        assert_eq!(parse("").unwrap(), Order::default());
        let some = parse("leases --iterations 7").unwrap();
        assert_eq!(
            (some.story.as_deref(), some.iterations),
            (Some("leases"), Some(7))
        );
        let one = parse("a_story --replay schedule000.txt").unwrap();
        assert_eq!(one.replay, Some("schedule000.txt".into()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            "--replay schedule000.txt",
            "--iterations",
            "--iterations many",
            "--seed 1",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }
}

//! `cargo xtask fuzz`: looks for input that breaks a property of `crates/properties`.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use lab::{dirs, tools};
use xshell::{Shell, cmd};

/// Of one process in MiB: what a reader may take for input of a few kilobytes, and then some.
const MAX_MEMORY: &str = "1024";
/// Of one input: what takes longer hangs.
const MAX_SECONDS: &str = "20";
/// Of an input in bytes.
const MAX_LEN: &str = "8192";

/// The targets that run, and how long.
#[derive(Args, Debug)]
pub(crate) struct Order {
    /// Names of targets; all of them by default
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long each of them runs
    // libFuzzer takes 0 for ever.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Runs targets, each for a while.
///
/// New inputs are kept in `target/fuzz`, and the seeds in `fuzz/corpus` stay as they are: an input that
/// was found belongs there by hand, in a file named for its story.
pub(crate) fn run(sh: &Shell, order: &Order) -> Result<()> {
    let all = targets()?;
    let unknown: Vec<_> = order.targets.iter().filter(|name| !all.contains(name)).collect();
    ensure!(
        unknown.is_empty(),
        "no fuzz target {unknown:?}; there are: {}",
        all.join(", ")
    );
    let chosen = if order.targets.is_empty() {
        &all
    } else {
        &order.targets
    };
    let seconds = order.seconds;
    let fuzz = tools::ensure(sh, tools::FUZZ)?;
    let work = dirs::target(sh)?.join("fuzz");
    let build = work.join("build");
    let mut broken = Vec::new();
    for target in chosen {
        eprintln!("fuzzing {target} for {seconds} s");
        let time = format!("-max_total_time={seconds}");
        let corpus = work.join("corpus").join(target);
        let found = work.join("found").join(target);
        for directory in [&corpus, &found] {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        let seeds = dirs::workspace().join("fuzz/corpus").join(target);
        let artifacts = format!("-artifact_prefix={}/", found.display());
        // Instrumenting takes flags that a stable compiler has but hides; a sanitizer would take a nightly one, and finds
        // little more in code without `unsafe`.
        let run = cmd!(
            sh,
            "{fuzz} run --sanitizer none --target-dir {build} {target} {corpus} {seeds} --
             {time} -rss_limit_mb={MAX_MEMORY} -timeout={MAX_SECONDS} -max_len={MAX_LEN} {artifacts}"
        )
        .env("RUSTC_BOOTSTRAP", "1")
        .run();
        if let Err(error) = run {
            eprintln!("{error}");
            broken.push(target);
        }
    }
    ensure!(
        broken.is_empty(),
        "broken properties: {broken:?}; their input is in {}",
        work.join("found").display()
    );
    Ok(())
}

/// The names of all targets.
fn targets() -> Result<Vec<String>> {
    let directory = dirs::workspace().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for file in fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
        if let Some(name) = file?.path().file_stem() {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

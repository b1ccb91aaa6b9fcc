//! `cargo xtask fuzz`: looks for input that breaks a property of `crates/properties`.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use xshell::{Shell, cmd};

use crate::{dirs, tools};

const DEFAULT_SECONDS: u32 = 60;

/// Of one process in MiB: what a reader may take for input of a few kilobytes, and then some.
const MAX_MEMORY: &str = "1024";
/// Of one input: what takes longer hangs.
const MAX_SECONDS: &str = "20";
/// Of an input in bytes.
const MAX_LEN: &str = "8192";

/// Runs the targets that `arguments` name, or all, each for a while. New inputs are kept in `target/fuzz`, the seeds in
/// `fuzz/corpus` stay as they are: what was found belongs there by hand, in a file named for its story.
pub(crate) fn run(sh: &Shell, arguments: &[String]) -> Result<()> {
    let all = targets()?;
    let (chosen, seconds) = choose(&all, arguments)?;
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

/// The targets to run and for how many seconds each: `[TARGET...] [--seconds N]`.
fn choose<'a>(all: &'a [String], arguments: &[String]) -> Result<(Vec<&'a String>, u32)> {
    let mut chosen = Vec::new();
    let mut seconds = DEFAULT_SECONDS;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--seconds" {
            let number = arguments.next().context("`--seconds` needs a number")?;
            seconds = number
                .parse()
                .with_context(|| format!("`--seconds {number}` is no number"))?;
        } else {
            match all.iter().find(|target| *target == argument) {
                Some(target) => chosen.push(target),
                None => bail!("no fuzz target `{argument}`; there are: {}", all.join(", ")),
            }
        }
    }
    // To libFuzzer, 0 is for ever.
    ensure!(seconds > 0, "`--seconds` needs a number above 0");
    if chosen.is_empty() {
        chosen.extend(all);
    }
    Ok((chosen, seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_time_are_chosen() {
        let all = ["a", "b"].map(str::to_owned);
        let choose = |text: &str| {
            let arguments: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
            choose(&all, &arguments)
                .map(|(chosen, seconds)| (chosen.into_iter().cloned().collect::<String>(), seconds))
        };
        assert_eq!(choose("").unwrap(), ("ab".to_owned(), DEFAULT_SECONDS));
        assert_eq!(choose("b --seconds 5").unwrap(), ("b".to_owned(), 5));
        for wrong in ["c", "--seconds", "--seconds x", "--seconds 0"] {
            assert!(choose(wrong).is_err(), "{wrong}");
        }
    }
}

//! `cargo xtask planted`: proves that the tests notice bugs. Each is planted alone, and then the tests that are there to
//! catch it have to fail.

mod bugs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use walkdir::WalkDir;
use xshell::{Shell, cmd};

use self::bugs::{BUGS, Bug, PACKAGES, Suite};
use crate::schedules::STORIES;
use lab::{apt, dirs};

/// Names the bug, for the build with `--cfg planted`.
const VARIABLE: &str = "LAYERCACHE_PLANTED";
/// How long one run of a suite may take, in seconds: with a bug, tests may wait for what never comes.
const LIMIT: &str = "300";
/// What `timeout` ends with when it had to kill.
const TIMED_OUT: i32 = 124;
/// How a hook begins. In pieces, or this file would have one.
const HOOK: &str = concat!("planted::", "is(");

/// Plants every bug, or the one that is named.
pub(crate) fn run(sh: &Shell, only: Option<&str>) -> Result<()> {
    let table = BUGS.iter().map(|bug| bug.name).collect();
    check_hooks(&hooks()?, &table)?;
    let bugs: Vec<&Bug> = BUGS
        .iter()
        .filter(|bug| only.is_none_or(|name| name == bug.name))
        .collect();
    ensure!(!bugs.is_empty(), "no such bug: choose one of {table:?}");

    apt::ensure(sh, apt::STRACE)?;
    let start = Instant::now();
    let step = |what: &str| eprintln!("[{:4.0} s] {what}", start.elapsed().as_secs_f64());
    step("building the suites");
    let suites = build(sh, &bugs)?;
    let mut wrong = Vec::new();
    for suite in bugs
        .iter()
        .flat_map(|bug| bug.caught_by)
        .map(|(suite, _)| suite)
        .collect::<BTreeSet<_>>()
    {
        step(&format!("{suite}, without any bug"));
        let ran = suites.run(suite, None)?;
        ensure!(
            ran.failed.is_empty() && ran.status.success(),
            "{suite} fails without any bug planted: {}",
            ran.how()
        );
        let filters = BUGS
            .iter()
            .flat_map(|bug| bug.caught_by.iter().map(move |by| (bug, by)));
        for (bug, (_, filter)) in filters.filter(|(_, (of, _))| of == suite) {
            if !ran.passed.iter().any(|test| test.contains(filter)) {
                wrong.push(format!(
                    "{}: {suite} has no test whose name contains `{filter}`",
                    bug.name
                ));
            }
        }
    }
    for bug in &bugs {
        for (suite, filter) in bug.caught_by {
            let ran = suites.run(suite, Some((bug.name, filter)))?;
            if ran.status.success() {
                wrong.push(format!("{}: survives {suite}, `{filter}`", bug.name));
                step(&format!("{} SURVIVES {suite}, `{filter}`", bug.name));
            } else {
                step(&format!("{}: {suite}: {}", bug.name, ran.how()));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("not every planted bug is caught:\n  {}", wrong.join("\n  "));
    }
    step(&format!("each of {} planted bugs is caught", bugs.len()));
    Ok(())
}

/// By package, target and whether they are scheduled: binaries of tests, and the directory of the package, where they are run.
type Binaries = BTreeMap<(String, String, bool), (PathBuf, PathBuf)>;

/// The tests, compiled with bugs.
struct Suites {
    binaries: Binaries,
}

/// What a run of a suite came to.
struct Ran {
    status: ExitStatus,
    passed: Vec<String>,
    failed: Vec<String>,
}

impl Ran {
    /// How it failed.
    fn how(&self) -> String {
        match &self.failed[..] {
            [] if self.status.code() == Some(TIMED_OUT) => format!("no end after {LIMIT} s"),
            [] => self.status.to_string(),
            [test] => test.clone(),
            [first, more @ ..] => format!("{first} and {} more", more.len()),
        }
    }
}

/// Builds the tests once, in target directories of their own: flags of the compiler change everything.
fn build(sh: &Shell, bugs: &[&Bug]) -> Result<Suites> {
    let needs = |scheduled| {
        let mut suites = bugs.iter().flat_map(|bug| bug.caught_by);
        suites.any(|(suite, _)| suite.scheduled == scheduled)
    };
    let mut binaries = Binaries::new();
    if needs(false) {
        let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
        let tests = ["--tests"].into_iter().chain(packages).collect();
        binaries.extend(build_with(sh, "planted", "--cfg planted", tests, false)?);
    }
    if needs(true) {
        let stories = vec!["--package", "cache-core", "--test", "schedules"];
        let flags = "--cfg planted --cfg shuttle";
        binaries.extend(build_with(sh, "planted-schedules", flags, stories, true)?);
    }
    Ok(Suites { binaries })
}

fn build_with(
    sh: &Shell,
    directory: &str,
    more_flags: &str,
    tests: Vec<&str>,
    scheduled: bool,
) -> Result<Binaries> {
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let built = cmd!(
        sh,
        "cargo test --locked --no-run --lib {tests...} --message-format json-render-diagnostics"
    )
    .env("RUSTFLAGS", format!("{flags} {more_flags}"))
    .env("CARGO_TARGET_DIR", dirs::target(sh)?.join(directory))
    .read()?;
    let mut binaries = BTreeMap::new();
    for line in built.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let (Some(binary), Some(manifest), Some(target)) = (
            message["executable"].as_str(),
            message["manifest_path"].as_str(),
            message["target"]["name"].as_str(),
        ) else {
            continue;
        };
        let directory = PathBuf::from(manifest)
            .parent()
            .context("a manifest is in a directory")?
            .to_owned();
        let package = directory
            .file_name()
            .context("a package has a directory of its name")?;
        let key = (
            package.to_string_lossy().into_owned(),
            target.to_owned(),
            scheduled,
        );
        binaries.insert(key, (PathBuf::from(binary), directory));
    }
    Ok(binaries)
}

impl Suites {
    /// Runs a suite: all of it, or with a bug the tests that should catch it.
    fn run(&self, suite: &Suite, planted: Option<(&str, &str)>) -> Result<Ran> {
        let key = (suite.package.to_owned(), suite.target.to_owned(), suite.scheduled);
        let (binary, directory) = self
            .binaries
            .get(&key)
            .with_context(|| format!("there is no {suite}"))?;
        let mut command = Command::new("timeout");
        command.arg(LIMIT).arg(binary).current_dir(directory);
        command.env_remove(VARIABLE);
        if suite.scheduled {
            command.env("SHUTTLE_RANDOM_SEED", "1");
            if planted.is_none() {
                command.arg(STORIES).env("LAYERCACHE_SCHEDULES", "100");
            }
        }
        if let Some((bug, filter)) = planted {
            command.arg(filter).env(VARIABLE, bug);
            // What is caught once is caught each time. What a case shrinks to is of no interest, nor is it kept.
            command.env("PROPTEST_RNG_SEED", "1");
            command.env("PROPTEST_MAX_SHRINK_ITERS", "0");
            command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
        }
        let output = command.output().with_context(|| format!("cannot run {suite}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let ended = |how: &str| -> Vec<String> {
            let tests = text.lines().filter_map(|line| line.strip_prefix("test "));
            let ended = tests.filter_map(|test| test.strip_suffix(how));
            // A test that is to panic has that behind its name.
            ended
                .filter_map(|test| test.split(' ').next())
                .map(str::to_owned)
                .collect()
        };
        Ok(Ran {
            status: output.status,
            passed: ended(" ... ok"),
            failed: ended(" ... FAILED"),
        })
    }
}

/// The names of the bugs in the sources.
fn hooks() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for package in PACKAGES {
        for entry in WalkDir::new(dirs::workspace().join("crates").join(package).join("src")) {
            let entry = entry?;
            if entry.path().extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(entry.path())?;
            let names_here = text.split(HOOK).skip(1).filter_map(|rest| {
                let quoted = rest.trim_start().strip_prefix('"')?;
                quoted.split('"').next().map(str::to_owned)
            });
            names.extend(names_here);
        }
    }
    Ok(names)
}

fn check_hooks(hooks: &BTreeSet<String>, table: &BTreeSet<&str>) -> Result<()> {
    let unknown: Vec<_> = hooks
        .iter()
        .filter(|name| !table.contains(name.as_str()))
        .collect();
    ensure!(
        unknown.is_empty(),
        "bugs in the sources that no test is said to catch, in bugs.rs: {unknown:?}"
    );
    let stale: Vec<_> = table.iter().filter(|name| !hooks.contains(**name)).collect();
    ensure!(
        stale.is_empty(),
        "bugs in bugs.rs that the sources do not have: {stale:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_in_the_sources_is_in_the_table_and_the_other_way_round() {
        let table = BUGS.iter().map(|bug| bug.name).collect();
        let mut hooks = hooks().unwrap();
        check_hooks(&hooks, &table).unwrap();
        assert_eq!(table.len(), BUGS.len());
        hooks.insert("of-no-table".to_owned());
        assert!(check_hooks(&hooks, &table).is_err());
        assert!(check_hooks(&BTreeSet::new(), &table).is_err());
    }
}

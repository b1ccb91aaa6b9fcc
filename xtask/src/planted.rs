//! `cargo xtask planted`: proves that the tests notice bugs.
//!
//! Each bug is a patch of its own, `xtask/planted/NAME.patch`, that applies to the tree as it is. Above the change, its
//! header tells the bug in a sentence and how it is caught:
//!
//! ```text
//! A layer that differs from its diff ID is taken as it is.
//!
//! Caught by: cargo test -p cache-core --lib cache::tests::proof
//! Caught by: cargo xtask schedules readers_of_a_cold_layer
//! ```
//!
//! All patches are applied to one copy of the tree. The bug of a patch sleeps behind `cache_core::planted::is("NAME")`, which
//! is in the copy alone and asks an environment variable: so one build serves all bugs, and each is planted alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use lab::{apt, dirs};
use xshell::{Shell, cmd};

use crate::schedules::STORIES;

/// The patches.
const PATCHES: &str = "xtask/planted";
/// The crates that bugs are planted in.
const PACKAGES: &[&str] = &["cache-core", "cache-disk"];
/// The suite of the stories: the binary of this name, and the library with the stories of its smallest parts.
const SCHEDULES: &str = "schedules";
/// Names the bug that is planted.
const VARIABLE: &str = "LAYERCACHE_PLANTED";
/// The module that the copy of cache-core gets.
const SWITCH: &str = r#"
/// Bugs planted on purpose.
pub mod planted {
    /// Whether the bug `name` is planted.
    pub fn is(name: &str) -> bool {
        std::env::var_os("LAYERCACHE_PLANTED").is_some_and(|planted| planted == name)
    }
}
"#;
/// How long one run of a suite may take, in seconds: with a bug, tests may wait for what never comes.
const LIMIT: &str = "300";
/// The status of `timeout` when it had to kill.
const TIMED_OUT: i32 = 124;

/// The tests that one command runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Suite {
    package: String,
    /// As cargo names it: the library, or a file in `tests/`.
    target: String,
    /// Whether the scheduler of `cargo xtask schedules` tells its stories.
    scheduled: bool,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.scheduled { ", scheduled" } else { "" };
        write!(f, "{} {}{how}", self.package, self.target)
    }
}

/// A bug, and the tests of each suite that have to catch it: those whose names contain the word.
#[derive(Debug)]
struct Bug {
    name: String,
    caught_by: Vec<(Suite, String)>,
}

impl Bug {
    /// Reads the header of the patch `name`.
    fn parse(name: &str, patch: &str) -> Result<Self> {
        let (header, change) = patch.split_once("\n--- a/").context("has no change")?;
        let (story, commands) = header.split_once("\n\n").context("has no header")?;
        ensure!(
            !story.is_empty() && !story.contains("Caught by"),
            "does not tell the bug first"
        );
        let commands = commands
            .lines()
            .filter_map(|line| line.strip_prefix("Caught by: "));
        let caught_by = commands
            .map(|command| parse_command(command).with_context(|| format!("`{command}` runs no tests")))
            .collect::<Result<Vec<_>>>()?;
        ensure!(!caught_by.is_empty(), "does not say which test catches the bug");
        let switches = change.split("planted::is(\"").skip(1);
        let switches: BTreeSet<_> = switches.filter_map(|rest| rest.split('"').next()).collect();
        ensure!(
            switches == BTreeSet::from([name]),
            "has the switches {switches:?}: name them like the file"
        );
        Ok(Self {
            name: name.to_owned(),
            caught_by,
        })
    }
}

/// The suite that a command runs, and the word that chooses tests.
fn parse_command(command: &str) -> Option<(Suite, String)> {
    let words: Vec<_> = command.split(' ').collect();
    let (package, target, scheduled, rest) = match &words[..] {
        ["cargo", "xtask", "schedules", rest @ ..] => ("cache-core", SCHEDULES.to_owned(), true, rest),
        ["cargo", "test", "-p", package, "--lib", rest @ ..] => {
            (*package, package.replace('-', "_"), false, rest)
        }
        ["cargo", "test", "-p", package, "--test", target, rest @ ..] => {
            (*package, (*target).to_owned(), false, rest)
        }
        _ => return None,
    };
    let suite = Suite {
        package: package.to_owned(),
        target,
        scheduled,
    };
    (rest.len() <= 1).then(|| (suite, rest.concat()))
}

/// The patches by the names of their bugs.
fn patches() -> Result<BTreeMap<String, PathBuf>> {
    let directory = dirs::workspace().join(PATCHES);
    let mut patches = BTreeMap::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("cannot read {PATCHES}"))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".patch"));
        let name = name.with_context(|| format!("{} is no patch", path.display()))?;
        patches.insert(name.to_owned(), path);
    }
    ensure!(!patches.is_empty(), "there are no patches in {PATCHES}");
    Ok(patches)
}

/// Reads the headers of the patches.
fn bugs(patches: &BTreeMap<String, PathBuf>) -> Result<Vec<Bug>> {
    let bugs = patches.iter().map(|(name, path)| {
        Bug::parse(name, &fs::read_to_string(path)?).with_context(|| format!("{PATCHES}/{name}.patch"))
    });
    bugs.collect()
}

/// Applies patches to the tree `root`, or tries to. The context of a change may be on one side of it alone, since bugs are
/// planted side by side.
fn apply<'a>(root: &Path, check: bool, patches: impl IntoIterator<Item = &'a PathBuf>) -> Result<()> {
    let mut git = Command::new("git");
    git.args(["apply", "--unidiff-zero", "--whitespace=nowarn"])
        .args(check.then_some("--check"))
        .args(patches)
        .current_dir(root)
        .stdin(Stdio::null());
    // A copy of the tree is none of the repository that it is in.
    if let Some(parent) = root.parent() {
        git.env("GIT_CEILING_DIRECTORIES", parent);
    }
    let output = git.output().context("cannot run git")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", said.trim().replace('\n', "; "));
    Ok(())
}

/// Finds patches that do not apply or tell too little, and switches in the sources, which are for patches alone.
pub(crate) fn problems(sources: &[(String, String)]) -> Result<Vec<String>> {
    let patches = patches()?;
    let mut problems: Vec<_> = sources
        .iter()
        .filter(|(path, text)| path.starts_with("crates/") && text.contains("planted::is("))
        .map(|(path, _)| format!("{path}: the switch of a planted bug belongs into a patch in {PATCHES}"))
        .collect();
    problems.extend(bugs(&patches).err().map(|error| format!("{error:#}")));
    if let Err(together) = apply(dirs::workspace(), true, patches.values()) {
        let before = problems.len();
        for (name, patch) in &patches {
            if let Err(error) = apply(dirs::workspace(), true, [patch]) {
                problems.push(format!("{PATCHES}/{name}.patch does not apply: {error:#}"));
            }
        }
        if problems.len() == before {
            problems.push(format!(
                "the patches in {PATCHES} do not apply together: {together:#}"
            ));
        }
    }
    Ok(problems)
}

/// Copies the tree as git knows it, with all that is not committed, and applies every patch.
fn plant(sh: &Shell, tree: &Path, patches: &BTreeMap<String, PathBuf>) -> Result<()> {
    sh.remove_path(tree)?;
    sh.create_dir(tree)?;
    let files = cmd!(sh, "git ls-files -z --cached --others --exclude-standard")
        .quiet()
        .read()?;
    for file in files.split_terminator('\0') {
        let (from, to) = (sh.current_dir().join(file), tree.join(file));
        // A file that is removed is listed until that is committed.
        if from.exists() {
            fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
            fs::copy(&from, &to).with_context(|| format!("cannot copy {file}"))?;
        }
    }
    for (name, patch) in patches {
        apply(tree, false, [patch]).with_context(|| format!("{PATCHES}/{name}.patch does not apply"))?;
    }
    let core = tree.join("crates/cache-core/src/lib.rs");
    Ok(fs::write(&core, fs::read_to_string(&core)? + SWITCH)?)
}

/// Plants every bug, or the one that is named.
pub(crate) fn run(sh: &Shell, only: Option<&str>) -> Result<()> {
    let patches = patches()?;
    let all = bugs(&patches)?;
    let bugs: Vec<&Bug> = all
        .iter()
        .filter(|bug| only.is_none_or(|name| name == bug.name))
        .collect();
    ensure!(
        !bugs.is_empty(),
        "no such bug: choose one of {:?}",
        patches.keys()
    );

    apt::ensure(sh, apt::STRACE)?;
    let start = Instant::now();
    let step = |what: &str| eprintln!("[{:4.0} s] {what}", start.elapsed().as_secs_f64());
    let root = dirs::target(sh)?.join("planted");
    step("applying the patches to a copy of the tree");
    plant(sh, &root.join("tree"), &patches)?;
    step("building the suites");
    let suites = build(sh, &root, &bugs)?;
    let mut wrong = Vec::new();
    for suite in bugs
        .iter()
        .flat_map(|bug| &bug.caught_by)
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
        let filters = all
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
        for (suite, filter) in &bug.caught_by {
            let ran = suites.run(suite, Some((&bug.name, filter)))?;
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

/// The tests, compiled with all bugs: their binaries, and the directories of their packages, where they are run.
struct Suites(BTreeMap<Suite, Vec<(PathBuf, PathBuf)>>);

/// The outcome of a run of a suite.
struct Ran {
    status: ExitStatus,
    passed: Vec<String>,
    failed: Vec<String>,
}

impl Ran {
    /// Tells how it failed.
    fn how(&self) -> String {
        match &self.failed[..] {
            [] if self.status.code() == Some(TIMED_OUT) => format!("no end after {LIMIT} s"),
            [] => self.status.to_string(),
            [test] => test.clone(),
            [first, more @ ..] => format!("{first} and {} more", more.len()),
        }
    }
}

/// Builds the tests of the tree in `root`, once, in target directories of their own: flags of the compiler change
/// everything.
fn build(sh: &Shell, root: &Path, bugs: &[&Bug]) -> Result<Suites> {
    let needs = |scheduled| {
        let mut suites = bugs.iter().flat_map(|bug| &bug.caught_by);
        suites.any(|(suite, _)| suite.scheduled == scheduled)
    };
    let _there = sh.push_dir(root.join("tree"));
    let mut suites = Suites(BTreeMap::new());
    if needs(false) {
        let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
        let tests = ["--tests"].into_iter().chain(packages).collect();
        suites.build(sh, &root.join("build"), "", tests, false)?;
    }
    if needs(true) {
        let stories = vec!["--package", "cache-core", "--test", SCHEDULES];
        suites.build(sh, &root.join("build-scheduled"), "--cfg shuttle", stories, true)?;
    }
    Ok(suites)
}

impl Suites {
    fn build(
        &mut self,
        sh: &Shell,
        target: &Path,
        more_flags: &str,
        tests: Vec<&str>,
        scheduled: bool,
    ) -> Result<()> {
        let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        let built = cmd!(
            sh,
            "cargo test --locked --no-run --lib {tests...} --message-format json-render-diagnostics"
        )
        .env("RUSTFLAGS", format!("{flags} {more_flags}"))
        .env("CARGO_TARGET_DIR", target)
        .read()?;
        for line in built.lines() {
            let message: serde_json::Value = serde_json::from_str(line)?;
            let (Some(binary), Some(manifest), Some(target)) = (
                message["executable"].as_str(),
                message["manifest_path"].as_str(),
                message["target"]["name"].as_str(),
            ) else {
                continue;
            };
            let directory = Path::new(manifest)
                .parent()
                .context("a manifest is in a directory")?;
            let package = directory
                .file_name()
                .context("a package has a directory of its name")?;
            let target = if scheduled { SCHEDULES } else { target };
            let suite = Suite {
                package: package.to_string_lossy().into_owned(),
                target: target.to_owned(),
                scheduled,
            };
            let binaries = self.0.entry(suite).or_default();
            binaries.push((PathBuf::from(binary), directory.to_owned()));
        }
        Ok(())
    }

    /// Runs a suite: all of it, or with a bug the tests that should catch it.
    fn run(&self, suite: &Suite, planted: Option<(&str, &str)>) -> Result<Ran> {
        let binaries = self.0.get(suite);
        let binaries = binaries.with_context(|| format!("there is no {suite}"))?;
        let mut runs = binaries
            .iter()
            .map(|(binary, directory)| run_binary(suite, binary, directory, planted));
        let mut all = runs.next().context("a suite has a binary")??;
        for ran in runs {
            let ran = ran?;
            if all.status.success() {
                all.status = ran.status;
            }
            all.passed.extend(ran.passed);
            all.failed.extend(ran.failed);
        }
        Ok(all)
    }
}

fn run_binary(suite: &Suite, binary: &Path, directory: &Path, planted: Option<(&str, &str)>) -> Result<Ran> {
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
        // A bug that is caught once is caught each time. Nobody looks at what a case shrinks to, nor is it kept.
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

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGE: &str = "\n--- a/x.rs\n+++ b/x.rs\n@@ -1 +1,3 @@\n a\n+if planted::is(\"a-bug\") {\n+}\n";

    #[test]
    fn a_patch_tells_its_bug_and_how_it_is_caught() {
        let header = "A bug.\n\nCaught by: cargo test -p cache-disk --lib space\n\
                      Caught by: cargo test -p cache-core --test interactions\nCaught by: cargo xtask schedules a_story\n";
        let bug = Bug::parse("a-bug", &format!("{header}{CHANGE}")).unwrap();
        let caught_by: Vec<_> = bug
            .caught_by
            .iter()
            .map(|(suite, filter)| format!("{suite}: {filter}"))
            .collect();
        assert_eq!(
            caught_by,
            [
                "cache-disk cache_disk: space",
                "cache-core interactions: ",
                "cache-core schedules, scheduled: a_story"
            ]
        );
    }

    #[test]
    fn a_patch_that_says_too_little_is_refused() {
        let caught = "Caught by: cargo test -p cache-disk --lib space\n";
        for (name, patch) in [
            (
                "a-bug",
                "A bug.\n\nCaught by: cargo test -p cache-disk --lib\n".to_owned(),
            ),
            ("a-bug", format!("{caught}\n{caught}{CHANGE}")),
            ("a-bug", format!("A bug.\n\n{CHANGE}")),
            ("a-bug", format!("A bug.\n\nCaught by: cargo run\n{CHANGE}")),
            ("another", format!("A bug.\n\n{caught}{CHANGE}")),
        ] {
            assert!(Bug::parse(name, &patch).is_err(), "{name}: {patch}");
        }
    }

    #[test]
    fn a_patch_that_does_not_apply_is_told_from_one_that_does() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("x.rs"), "a\n").unwrap();
        let (right, wrong) = (root.path().join("right.patch"), root.path().join("wrong.patch"));
        fs::write(&right, format!("A bug.\n{CHANGE}")).unwrap();
        fs::write(&wrong, format!("A bug.\n{}", CHANGE.replace(" a\n", " b\n"))).unwrap();
        assert!(apply(root.path(), true, [&wrong]).is_err());
        apply(root.path(), false, [&right]).unwrap();
        let planted = fs::read_to_string(root.path().join("x.rs")).unwrap();
        assert!(planted.starts_with("a\nif planted"), "{planted}");
    }
}

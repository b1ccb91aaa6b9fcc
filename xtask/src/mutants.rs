//! `cargo xtask mutants`: which changes of the code would no test notice?
//!
//! A run over everything takes many hours, so it is no part of `ci`: ask about the files at hand, or about a shard.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use lab::{apt, dirs, tools};
use xshell::{Shell, cmd};

/// What is mutated unless a package is named.
const PACKAGES: &[&str] = &["cache-core", "cache-disk"];
/// The survivors that do not matter, and why.
const EXCUSED: &str = "docs/mutants.md";
/// What cargo-mutants ends with when mutants survived, and when some of them made the tests hang.
const SURVIVED: [i32; 2] = [2, 3];

/// Mutates, and prints what survives. `arguments` go to cargo-mutants; its settings are in `.cargo/mutants.toml`.
pub(crate) fn run(sh: &Shell, arguments: &[String]) -> Result<()> {
    apt::ensure(sh, apt::STRACE)?;
    let tool = tools::ensure(sh, tools::MUTANTS)?;
    let output = dirs::target(sh)?.join("mutants");
    fs::create_dir_all(&output)?;
    let names_package = arguments
        .iter()
        .any(|word| word.starts_with("-p") || word.starts_with("--package"));
    let packages = PACKAGES
        .iter()
        .filter(|_| !names_package)
        .flat_map(|package| ["--package", package]);
    // One at a time: each is a build, which has use for every core.
    let ended = cmd!(
        sh,
        "{tool} mutants --jobs 1 --no-shuffle --colors never --cargo-arg=--locked --output {output} {packages...} {arguments...}"
    );
    let status = std::process::Command::from(ended)
        .status()
        .context("cannot run cargo-mutants")?;
    match status.code() {
        Some(0) => return Ok(()),
        Some(code) if SURVIVED.contains(&code) => {}
        _ => bail!("cargo-mutants ended with {status}"),
    }
    let excused = fs::read_to_string(dirs::workspace().join(EXCUSED)).unwrap_or_default();
    let survivors = survivors(&output.join("mutants.out"), &excused)?;
    if survivors.is_empty() {
        return Ok(());
    }
    bail!(
        "no test notices these: write one, or say in {EXCUSED} why it does not matter\n  {}",
        survivors.join("\n  ")
    );
}

/// What cargo-mutants wrote down as missed, but for what is excused.
fn survivors(report: &Path, excused: &str) -> Result<Vec<String>> {
    let missed = report.join("missed.txt");
    let missed = fs::read_to_string(&missed).with_context(|| format!("cannot read {}", missed.display()))?;
    Ok(missed
        .lines()
        .filter(|mutant| !excused.contains(&format!("`{}`", without_position(mutant))))
        .map(str::to_owned)
        .collect())
}

/// A mutant without its line and column, which change with every edit of the file.
fn without_position(mutant: &str) -> String {
    let mut parts = mutant.splitn(4, ':');
    match (parts.next(), parts.nth(2)) {
        (Some(file), Some(change)) => format!("{file}:{change}"),
        _ => mutant.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excuse_outlives_edits_of_the_file_and_excuses_nothing_else() {
        let report = tempfile::tempdir().unwrap();
        let missed =
            "crates/a/src/b.rs:12:5: replace + with - in f\ncrates/a/src/b.rs:12:5: replace + with * in f\n";
        fs::write(report.path().join("missed.txt"), missed).unwrap();
        let excused = "- `crates/a/src/b.rs: replace + with - in f`: it adds zero.";
        assert_eq!(
            survivors(report.path(), excused).unwrap(),
            ["crates/a/src/b.rs:12:5: replace + with * in f"]
        );
    }
}

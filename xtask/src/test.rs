//! `cargo xtask test`: every test, with everything they need.

use anyhow::{Result, bail};
use lab::servers::s3::S3Kind;
use lab::{apt, dirs, tools};
use xshell::{Shell, cmd};

/// Names the binary `layercache` under test, which is optimised.
const BIN: &str = "LAYERCACHE_TEST_BIN";

/// Names promtool.
pub(crate) const PROMTOOL: &str = "LAYERCACHE_TEST_PROMTOOL";

/// Runs the tests, with S3 of the kind `s3`.
///
/// `arguments` go to `cargo test` of the project's own crates; without any, xtask's tests run too.
pub(crate) fn run(sh: &Shell, s3: S3Kind, arguments: &[String]) -> Result<()> {
    apt::ensure(sh, apt::STRACE)?;
    cmd!(
        sh,
        "cargo build --locked --profile quick --package layercache-cli --features full"
    )
    .run()?;
    let binary = dirs::target(sh)?.join("quick/layercache");
    let servers = lab::start(sh, s3)?;

    let mut tests = cmd!(sh, "cargo test --locked")
        .env(BIN, binary)
        .env(PROMTOOL, tools::promtool(sh)?)
        // A snapshot that is outdated fails, and nothing is written next to it.
        .env("INSTA_UPDATE", "no")
        .envs(servers.environment());
    let options: Vec<_> = arguments.iter().take_while(|word| *word != "--").collect();
    let names_package = options.iter().any(|word| is_package_option(word));
    if !names_package {
        tests = tests.args(["--workspace", "--exclude", "xtask"]);
    }
    // Without every feature, cargo would pass over the end-to-end tests. It does not take features of a package that is not meant.
    if !names_package || options.iter().any(|word| word.ends_with("layercache-cli")) {
        tests = tests.args(["--features", "layercache-cli/full"]);
    }
    // Both run, whatever the first says: one run shows every failure.
    let project = tests.args(["--no-fail-fast"]).args(arguments).run();
    let own = if arguments.is_empty() {
        cmd!(sh, "cargo test --locked --package xtask").run()
    } else {
        Ok(())
    };
    drop(servers);
    if project.is_err() || own.is_err() {
        bail!("tests failed");
    }
    Ok(())
}

fn is_package_option(word: &str) -> bool {
    word.starts_with("-p") || word == "--package" || word.starts_with("--package=")
}

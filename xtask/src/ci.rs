//! `cargo xtask ci`: what must hold besides the tests, cheap checks first.

use std::time::Instant;

use anyhow::Result;
use lab::tools;
use xshell::{Shell, cmd};

use crate::{features, instructions, msrv, tidy, units};

pub(crate) fn run(sh: &Shell) -> Result<()> {
    let start = Instant::now();
    let step = |what: &str| eprintln!("[{:4.0} s] {what}", start.elapsed().as_secs_f64());

    step("tidy");
    tidy::run()?;
    step("fmt");
    cmd!(sh, "cargo fmt --all --check").run()?;
    step("features");
    features::run(sh)?;
    step("msrv");
    msrv::run(sh)?;
    step("systemd units");
    units::run(sh)?;
    step("clippy");
    cmd!(
        sh,
        "cargo clippy --locked --quiet --workspace --all-targets --all-features -- --deny warnings"
    )
    .run()?;
    step("rustdoc");
    cmd!(
        sh,
        "cargo doc --locked --quiet --workspace --all-features --no-deps"
    )
    .env("RUSTDOCFLAGS", "--deny warnings")
    .run()?;
    step("feature powerset");
    let hack = tools::ensure(sh, tools::HACK)?;
    cmd!(
        sh,
        "{hack} hack clippy --locked --quiet --feature-powerset --depth 2 --package layercache -- --deny warnings"
    )
    .run()?;
    step("clippy of the program as it is installed by default");
    cmd!(
        sh,
        "cargo clippy --locked --quiet --package layercache-cli -- --deny warnings"
    )
    .run()?;
    step("licences, bans and sources");
    let deny = tools::ensure(sh, tools::DENY)?;
    // Not `advisories`: their database is a git repository on GitHub, which a closed network does not reach.
    cmd!(
        sh,
        "{deny} --locked check --hide-inclusion-graph bans licenses sources"
    )
    .run()?;
    step("instructions of a warm read");
    instructions::run(sh)?;
    step("done");
    Ok(())
}

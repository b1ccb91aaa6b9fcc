//! Cargo subcommands that a machine with a plain Rust does not have, built once into `target/tools`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::dirs;

/// A subcommand of cargo at a version that the project's Rust builds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};
pub(crate) const HACK: Tool = Tool {
    name: "cargo-hack",
    version: "0.6.46",
};

/// Returns the path of `tool`, which is installed unless it is there in this version.
pub(crate) fn ensure(sh: &Shell, tool: Tool) -> Result<PathBuf> {
    let Tool { name, version } = tool;
    // The version is in the path, so that another one is installed beside it.
    let root = dirs::target(sh)?.join("tools").join(format!("{name}-{version}"));
    let binary = root.join("bin").join(name);
    if !binary.exists() {
        let build = dirs::target(sh)?.join("tools/build");
        cmd!(
            sh,
            "timeout --foreground 900 cargo install --quiet --locked --no-track --profile dev
             --root {root} --target-dir {build} --version {version} {name}"
        )
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .run()
        .with_context(|| format!("cannot install {name} {version}"))?;
    }
    Ok(binary)
}

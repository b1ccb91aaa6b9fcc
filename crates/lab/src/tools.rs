//! Programs that a machine with a plain Rust does not have, put into `target/tools` once: subcommands
//! of cargo, servers for the tests, and promtool.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::{apt, dirs};

/// A program at a version that the project's Rust builds.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Of the package, and of its binary.
    name: &'static str,
    version: &'static str,
    /// How its features are chosen.
    features: &'static [&'static str],
    /// How long two slow cores may take to build it.
    minutes: u32,
}

/// Checks licences, bans and sources.
pub const DENY: Tool = Tool::small("cargo-deny", "0.20.2");
/// Runs fuzz targets.
pub const FUZZ: Tool = Tool::small("cargo-fuzz", "0.13.2");
/// Changes the code in one place at a time and runs the tests.
pub const MUTANTS: Tool = Tool::small("cargo-mutants", "27.1.0");
/// Tries combinations of features.
pub const HACK: Tool = Tool::small("cargo-hack", "0.6.46");
/// Later versions need a later Rust.
pub(crate) const S3S_FS: Tool = Tool {
    features: &["--features", "binary"],
    ..Tool::small("s3s-fs", "0.14.1")
};
pub(crate) const GARAGE: Tool = Tool {
    features: &["--no-default-features", "--features", "bundled-libs,lmdb"],
    minutes: 30,
    ..Tool::small("garage", "2.5.0")
};

impl Tool {
    const fn small(name: &'static str, version: &'static str) -> Self {
        Self {
            name,
            version,
            features: &[],
            minutes: 15,
        }
    }
}

/// Returns the path of `tool`, which is installed unless it is there in this version.
///
/// # Errors
///
/// If cargo cannot install it.
pub fn ensure(sh: &Shell, tool: Tool) -> Result<PathBuf> {
    let Tool {
        name,
        version,
        features,
        minutes,
    } = tool;
    // The version is in the path, so that another one is installed beside it.
    let root = dirs::target(sh)?.join("tools").join(format!("{name}-{version}"));
    let binary = root.join("bin").join(name);
    if !binary.exists() {
        eprintln!("building {name} {version}, which takes minutes, once");
        let time = format!("{minutes}m");
        let build = dirs::target(sh)?.join("tools/build");
        cmd!(
            sh,
            "timeout --foreground {time} cargo install --quiet --locked --no-track --profile dev
             --root {root} --target-dir {build} --version {version} {name} {features...}"
        )
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .run()
        .with_context(|| format!("cannot install {name} {version}"))?;
    }
    Ok(binary)
}

/// Returns the path of promtool, which knows what Prometheus takes as metrics and rules.
///
/// The Debian package is unpacked and not installed: that would start a Prometheus on this machine.
///
/// # Errors
///
/// If the package cannot be downloaded.
pub fn promtool(sh: &Shell) -> Result<PathBuf> {
    let root = dirs::target(sh)?.join("tools/prometheus");
    if !root.exists() {
        apt::unpack(sh, "prometheus", &root)?;
    }
    Ok(root.join("usr/bin/promtool"))
}

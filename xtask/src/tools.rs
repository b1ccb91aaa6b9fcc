//! Programs that a machine with a plain Rust does not have, built once into `target/tools`: subcommands of cargo, and
//! servers for the tests.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::dirs;

/// A program at a version that the project's Rust builds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    /// Of the package, and of its binary.
    name: &'static str,
    version: &'static str,
    /// How its features are chosen.
    features: &'static [&'static str],
    /// How long two slow cores may take to build it.
    minutes: u32,
}

pub(crate) const DENY: Tool = Tool::small("cargo-deny", "0.20.2");
pub(crate) const FUZZ: Tool = Tool::small("cargo-fuzz", "0.13.2");
pub(crate) const MUTANTS: Tool = Tool::small("cargo-mutants", "27.1.0");
pub(crate) const HACK: Tool = Tool::small("cargo-hack", "0.6.46");
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
pub(crate) fn ensure(sh: &Shell, tool: Tool) -> Result<PathBuf> {
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

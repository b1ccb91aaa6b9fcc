//! Where things are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

/// Returns the root of the checkout.
///
/// # Panics
///
/// Never: the crate is two directories below the root.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate is in crates/lab of the workspace")
}

/// Returns cargo's target directory, which is created.
///
/// Cargo is asked, because an environment variable and two configuration files may move it.
///
/// # Errors
///
/// If cargo does not name the directory, or it cannot be created.
pub fn target(sh: &Shell) -> Result<PathBuf> {
    let metadata = cmd!(sh, "cargo metadata --format-version 1 --no-deps")
        .quiet()
        .read()?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let directory = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target_directory")?;
    std::fs::create_dir_all(directory).with_context(|| format!("cannot create {directory}"))?;
    Ok(PathBuf::from(directory))
}

//! `--stats`: writes what a command cost, as JSON.

use std::path::Path;

use anyhow::{Context as _, Result};
use layercache::{Stack, ops};
use serde_json::Value;

/// Writes the figures on one line.
pub(super) fn write(figures: &Value, path: &Path) -> Result<()> {
    std::fs::write(path, format!("{figures}\n"))
        .with_context(|| format!("the figures cannot be written to {}", path.display()))
}

/// Writes the figures of this process so far.
pub(super) fn write_of(stack: &Stack, path: &Path) -> Result<()> {
    write(&serde_json::to_value(ops::stats(stack)?)?, path)
}

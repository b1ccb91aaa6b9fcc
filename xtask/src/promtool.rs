//! promtool, which knows whether metrics and rules are what Prometheus takes.

use std::path::PathBuf;

use anyhow::Result;
use xshell::Shell;

use crate::{apt, dirs};

/// Where it is. Its Debian package is unpacked and not installed: that would start a Prometheus on this machine.
pub(crate) fn ensure(sh: &Shell) -> Result<PathBuf> {
    let root = dirs::target(sh)?.join("tools/prometheus");
    if !root.exists() {
        apt::unpack(sh, "prometheus", &root)?;
    }
    Ok(root.join("usr/bin/promtool"))
}

//! `cache remove`: removes one layer.

use anyhow::{Context as _, Result, bail};
use layercache::core::Tier;
use layercache::disk::DiskTier;
use serde_json::json;

use super::args::Remove;
use super::output;

pub(super) async fn run(disks: &[&DiskTier], command: &Remove) -> Result<()> {
    let mut found = false;
    for disk in disks {
        let removed = disk.remove(&command.digest).await;
        found |= removed.with_context(|| disk.dir().display().to_string())?;
    }
    if command.json {
        output::json(&json!({ "digest": command.digest.to_string(), "removed": found }))?;
    }
    if !found {
        bail!(
            "layer {} is not in the cache: `cache list` shows what is",
            command.digest
        );
    }
    if !command.json {
        output::write(format!("removed {}\n", command.digest).as_bytes())?;
    }
    Ok(())
}

//! One way of reading, in a process of its own.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use layercache::core::{Digest, LayerReaderExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::process::Command;

use super::plan::Plan;
use super::way::Way;
use crate::context::Context;
use crate::output;

/// What one way has cost.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) way: Way,
    pub(super) seconds: f64,
    pub(super) stats: Stats,
    /// All that its process wrote for `--stats`.
    pub(super) figures: Value,
}

/// What the table shows of `--stats`.
#[derive(Debug, Deserialize)]
pub(super) struct Stats {
    pub(super) inflates: u64,
    pub(super) origin_bytes: u64,
    pub(super) peak_rss_bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Report {
    seconds: f64,
}

/// Runs one way in a process of its own.
pub(super) async fn spawn(way: Way, plan: &Path, plain_http: bool, scratch: &Path) -> Result<Outcome> {
    let (config, stats) = (scratch.join("config.toml"), scratch.join("stats.json"));
    std::fs::write(
        &config,
        way.configuration(plain_http, &scratch.join("cache"))?.to_toml()?,
    )?;
    let mut command = Command::new(std::env::current_exe()?);
    // What is measured is what the file says, whatever the environment says of a cache.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"LAYERCACHE_") {
            command.env_remove(name);
        }
    }
    let output = command
        .args(["demo", "--progress", "never", "--phase"])
        .arg(plan)
        .arg("--config")
        .arg(&config)
        .arg("--stats")
        .arg(&stats)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        bail!("{}: failed with {}", way.label(), output.status);
    }
    let Report { seconds } = serde_json::from_slice(&output.stdout)?;
    let figures: Value = serde_json::from_slice(&std::fs::read(stats)?)?;
    Ok(Outcome {
        way,
        seconds,
        stats: Stats::deserialize(&figures)?,
        figures,
    })
}

/// Reads what the plan says, one read after another, each through a handle of its own as containers would.
pub(crate) async fn run(context: &Context, plan: &Path) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&std::fs::read(plan)?)?;
    let layers = plan
        .layers
        .iter()
        .map(|layer| layer.descriptor())
        .collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    for read in &plan.reads {
        let layer = layers
            .get(read.layer)
            .context("the plan names a layer that it does not have")?;
        let bytes = context
            .stack
            .open(layer)
            .await?
            .read_bytes(read.offset, read.len)
            .await?;
        if Digest::sha256_of(&bytes).to_string() != read.digest {
            bail!(
                "layer {} has other bytes at {} than it had before",
                layer.digest,
                read.offset
            );
        }
    }
    output::json(&Report {
        seconds: start.elapsed().as_secs_f64(),
    })
}

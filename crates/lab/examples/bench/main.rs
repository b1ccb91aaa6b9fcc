//! The measured side of `cargo xtask bench`: one workload per run, so that each has a process, and a memory, of its own.
//!
//! It prints one line of JSON: how many seconds the workload took, what was inflated, and the peak of the process's memory. What the
//! library is compared with, where that is no program of its own (`pread` in a loop, the bare Redis client), is here too: the
//! same loop around other calls.

mod fetch;
mod read;
mod redis;
mod stage;
mod start;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use layercache::core::LayerDescriptor;
use layercache::registry::Platform;
use layercache::{Config, Kinds, Stack};
use serde_json::json;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Subcommand)]
enum Workload {
    /// Reads layers until they are where the configuration keeps them.
    Fill(fetch::Fill),
    /// Reads 4 KiB of a layer.
    First(fetch::First),
    /// Reads 4 KiB of a layer again and again, opening it each time.
    Again(fetch::Again),
    /// Many tasks read 4 KiB of one layer at once.
    Stampede(fetch::Stampede),
    /// Copies a layer to the tiers that workers share.
    Publish(fetch::Publish),
    /// Reads of a layer that is there.
    Read(read::Read),
    /// Opens of layers that are there.
    Open(read::Open),
    /// Makes a directory with many layers.
    Populate(start::Populate),
    /// Starts, and reads the first bytes.
    Start(start::Start),
    /// Fetches a layer from Redis with the client alone.
    Redis(redis::Fetch),
    /// One stage of a fill.
    Stage(stage::Stage),
}

/// Which layers, through which cache.
#[derive(Args)]
struct Target {
    /// The configuration's file.
    #[arg(long)]
    config: PathBuf,
    #[arg(long)]
    image: String,
    /// The layer's number, the base is 0; all of them unless it is given.
    #[arg(long)]
    layer: Option<usize>,
}

impl Target {
    fn stack(&self) -> Result<Stack> {
        let toml = std::fs::read_to_string(&self.config)?;
        Ok(Stack::assemble(&Config::parse(&toml)?, &Kinds::builtin())?)
    }

    async fn layers(&self, stack: &Stack) -> Result<Vec<LayerDescriptor>> {
        let image = stack.resolve(&self.image.parse()?, &Platform::host()).await?;
        match self.layer {
            Some(number) => Ok(vec![image.layers.get(number).context("no such layer")?.clone()]),
            None => Ok(image.layers),
        }
    }

    async fn layer(&self, stack: &Stack) -> Result<LayerDescriptor> {
        let layers = self.layers(stack).await?;
        layers.into_iter().next().context("the image has no layers")
    }
}

/// What a workload came to.
struct Took {
    time: Duration,
    inflates: u64,
}

impl From<Duration> for Took {
    fn from(time: Duration) -> Self {
        Self { time, inflates: 0 }
    }
}

fn main() -> Result<()> {
    let took = match Arguments::parse().workload {
        Workload::Fill(fill) => fill.run()?,
        Workload::First(first) => first.run()?,
        Workload::Again(again) => again.run()?,
        Workload::Stampede(stampede) => stampede.run()?,
        Workload::Publish(publish) => publish.run()?,
        Workload::Read(read) => read.run()?.into(),
        Workload::Open(open) => open.run()?.into(),
        Workload::Populate(populate) => populate.run()?.into(),
        Workload::Start(start) => start.run()?.into(),
        Workload::Redis(fetch) => fetch.run()?.into(),
        Workload::Stage(stage) => stage.run()?.into(),
    };
    let figures = json!({
        "seconds": took.time.as_secs_f64(),
        "inflates": took.inflates,
        "peak_rss_bytes": peak_rss_bytes()?,
        "cpu_seconds": cpu_seconds()?,
    });
    println!("{figures}");
    Ok(())
}

/// `VmHWM` of proc(5).
fn peak_rss_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kibibytes.context("no VmHWM")?.parse::<u64>()? * 1024)
}

/// What all threads have used so far.
fn cpu_seconds() -> Result<f64> {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(used.tv_sec as f64 + used.tv_nsec as f64 / 1e9)
}

/// The runtime that applications have: a thread per core.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

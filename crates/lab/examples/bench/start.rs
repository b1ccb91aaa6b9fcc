//! What the number of layers in a directory costs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use layercache::core::index::IndexBuilder;
use layercache::core::{Digest, LayerReaderExt as _};

use crate::{Target, runtime};

/// Puts layers into a directory: a few bytes each, but named and indexed as the disk tier does it. There it would sync each.
#[derive(Args)]
pub(crate) struct Populate {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    count: u64,
}

impl Populate {
    pub(crate) fn run(self) -> Result<Duration> {
        let start = Instant::now();
        for number in 0..self.count {
            let bytes = format!("layer {number}");
            let digest = Digest::sha256_of(format!("blob {number}").as_bytes());
            let mut index = IndexBuilder::new(digest.algorithm());
            index.update(bytes.as_bytes());
            let file = |kind: &str| self.dir.join(format!("layer-{}.{kind}", digest.hex()));
            std::fs::write(file("index"), index.finish(digest).encode())?;
            std::fs::write(file("decompressed"), bytes)?;
        }
        Ok(start.elapsed())
    }
}

/// From an application's start to the first bytes of a layer that is there.
#[derive(Args)]
pub(crate) struct Start {
    #[command(flatten)]
    target: Target,
}

impl Start {
    pub(crate) fn run(self) -> Result<Duration> {
        let start = Instant::now();
        runtime()?.block_on(async {
            let stack = self.target.stack()?;
            let layer = self.target.layer(&stack).await?;
            let read = stack.open(&layer).await?.read_bytes(0, 4096).await?;
            read.first().context("the layer is empty")?;
            Ok(start.elapsed())
        })
    }
}

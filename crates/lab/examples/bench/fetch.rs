//! Layers that are not there yet.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use layercache::Stack;
use layercache::core::{LayerDescriptor, LayerReader, LayerReaderExt as _, LayerSourceExt as _};
use tokio::task::JoinSet;

use crate::{Target, Took, runtime};

const LEN: usize = 4096;

/// Until the layer is where the configuration keeps it.
#[derive(Args)]
pub(crate) struct Fill {
    #[command(flatten)]
    target: Target,
    /// This many of the layers.
    #[arg(long, default_value_t = usize::MAX)]
    first: usize,
}

impl Fill {
    pub(crate) fn run(self) -> Result<Took> {
        let start = Instant::now();
        runtime()?.block_on(async {
            let stack = self.target.stack()?;
            let mut fills = JoinSet::new();
            for layer in self.target.layers(&stack).await?.into_iter().take(self.first) {
                let cache = stack.cache().clone();
                fills.spawn(async move { cache.get(&layer).await });
            }
            while let Some(filled) = fills.join_next().await {
                filled??;
            }
            stack.cache().flush().await;
            took(start, &stack)
        })
    }
}

/// Until 4 KiB are there.
#[derive(Args)]
pub(crate) struct First {
    #[command(flatten)]
    target: Target,
    /// Where, as a part of this length.
    #[arg(long)]
    at: f64,
    #[arg(long)]
    len: u64,
}

impl First {
    pub(crate) fn run(self) -> Result<Took> {
        // The process need not end well: what is not finished is not part of the figure.
        measure(&self.target, async |stack, layer| {
            let offset = (self.len as f64 * self.at) as u64;
            read(&*stack.open(layer).await?, offset).await
        })
    }
}

/// 4 KiB at different offsets, one after the other, from opening the layer on.
#[derive(Args)]
pub(crate) struct Again {
    #[command(flatten)]
    target: Target,
    #[arg(long)]
    times: u64,
    #[arg(long)]
    len: u64,
}

impl Again {
    pub(crate) fn run(self) -> Result<Took> {
        measure(&self.target, async |stack, layer| {
            for time in 0..self.times {
                read(&*stack.open(layer).await?, self.len / self.times * time).await?;
            }
            Ok(())
        })
    }
}

/// Tasks that all read one layer.
#[derive(Args)]
pub(crate) struct Stampede {
    #[command(flatten)]
    target: Target,
    #[arg(long)]
    tasks: u64,
    #[arg(long)]
    len: u64,
}

impl Stampede {
    pub(crate) fn run(self) -> Result<Took> {
        measure(&self.target, async |stack, layer| {
            let mut tasks = JoinSet::new();
            for task in 0..self.tasks {
                let (cache, layer) = (stack.cache().clone(), layer.clone());
                let offset = self.len / self.tasks * task;
                tasks.spawn(async move { read(&*cache.get(&layer).await?, offset).await });
            }
            while let Some(read) = tasks.join_next().await {
                read??;
            }
            Ok(())
        })
    }
}

/// Until a layer of the disk is where other workers find it.
#[derive(Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    target: Target,
}

impl Publish {
    pub(crate) fn run(self) -> Result<Took> {
        measure(&self.target, async |stack, layer| {
            for publication in stack.cache().publish(layer).await? {
                ensure!(publication.written?, "{} had it", publication.tier);
            }
            Ok(())
        })
    }
}

/// Measures `work` on one layer, from an application's start.
fn measure(target: &Target, work: impl AsyncFnOnce(&Stack, &LayerDescriptor) -> Result<()>) -> Result<Took> {
    let start = Instant::now();
    runtime()?.block_on(async {
        let stack = target.stack()?;
        let layer = target.layer(&stack).await?;
        work(&stack, &layer).await?;
        took(start, &stack)
    })
}

async fn read(reader: &dyn LayerReader, offset: u64) -> Result<()> {
    let read = reader.read_bytes(offset, LEN).await?;
    ensure!(read.len() == LEN, "{} bytes at {offset}", read.len());
    Ok(())
}

fn took(start: Instant, stack: &Stack) -> Result<Took> {
    Ok(Took {
        time: start.elapsed(),
        inflates: stack.inflate_stats().inflates(),
    })
}

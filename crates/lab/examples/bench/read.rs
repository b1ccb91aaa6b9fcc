//! Reads of layers that are there, through the library and without it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use layercache::Stack;
use layercache::core::{LayerDescriptor, LayerReader};
use rustix::fs::Advice;
use tokio::task::JoinSet;

use crate::{Target, runtime};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Via {
    /// The cache.
    Layer,
    /// System calls alone.
    Pread,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    Random,
    Sequential,
}

/// Where the reads go, one after the other.
struct Offsets {
    order: Order,
    random: fastrand::Rng,
    blocks: u64,
    len: u64,
    next: u64,
}

impl Offsets {
    fn next(&mut self) -> u64 {
        let block = match self.order {
            Order::Random => self.random.u64(..self.blocks),
            Order::Sequential => {
                self.next += 1;
                (self.next - 1) % self.blocks
            }
        };
        block * self.len
    }
}

/// Reads by readers who share the layers among them.
#[derive(Args)]
pub(crate) struct Read {
    #[command(flatten)]
    target: Target,
    #[arg(long)]
    via: Via,
    #[arg(long)]
    order: Order,
    /// Bytes a read.
    #[arg(long)]
    len: usize,
    /// Reads, by all together.
    #[arg(long)]
    count: u64,
    /// Readers at once: tasks of the library's, threads of the system's.
    #[arg(long, default_value_t = 1)]
    readers: u64,
    /// The file is not in the page cache.
    #[arg(long)]
    uncached: bool,
}

impl Read {
    pub(crate) fn run(self) -> Result<Duration> {
        let runtime = runtime()?;
        let stack = self.target.stack()?;
        let layers = runtime.block_on(self.target.layers(&stack))?;
        let mut files = Vec::new();
        for layer in &layers {
            let file = File::open(path(&stack, layer)?)?;
            if self.uncached {
                rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
            } else {
                // Every page of it is in the page cache then.
                std::io::copy(&mut &file, &mut std::io::sink())?;
            }
            files.push(file);
        }
        match self.via {
            Via::Layer => runtime.block_on(async {
                let mut open = Vec::new();
                for layer in &layers {
                    open.push(stack.open(layer).await?);
                }
                self.by_tasks(&open).await
            }),
            Via::Pread => self.by_threads(&files),
        }
    }

    /// The reads of one reader, of a layer of this length.
    fn offsets(&self, reader: u64, len: u64) -> Offsets {
        let blocks = len / self.len as u64;
        Offsets {
            order: self.order,
            random: fastrand::Rng::with_seed(reader),
            blocks,
            len: self.len as u64,
            next: blocks / self.readers * reader,
        }
    }

    async fn by_tasks(&self, layers: &[Arc<dyn LayerReader>]) -> Result<Duration> {
        let (len, count) = (self.len, self.count / self.readers);
        let mut readers = layers.iter().cycle().zip(0..self.readers).map(|(layer, reader)| {
            let there = layer.len().context("the layer is not there")?;
            anyhow::Ok((Arc::clone(layer), self.offsets(reader, there)))
        });
        let start = Instant::now();
        if self.readers == 1 {
            let (layer, offsets) = readers.next().context("no layers")??;
            read(&*layer, offsets, len, count).await?;
            return Ok(start.elapsed());
        }
        let mut tasks = JoinSet::new();
        for reader in readers {
            let (layer, offsets) = reader?;
            tasks.spawn(async move { read(&*layer, offsets, len, count).await });
        }
        while let Some(read) = tasks.join_next().await {
            read??;
        }
        Ok(start.elapsed())
    }

    fn by_threads(&self, files: &[File]) -> Result<Duration> {
        let (len, count) = (self.len, self.count / self.readers);
        let start = Instant::now();
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (file, reader) in files.iter().cycle().zip(0..self.readers) {
                let offsets = self.offsets(reader, file.metadata()?.len());
                threads.push(scope.spawn(move || pread(file, offsets, len, count)));
            }
            threads.into_iter().try_for_each(|thread| thread.join().unwrap())
        })?;
        Ok(start.elapsed())
    }
}

async fn read(reader: &dyn LayerReader, mut offsets: Offsets, len: usize, count: u64) -> Result<()> {
    let mut buf = vec![0; len];
    for _ in 0..count {
        ensure!(
            reader.read_at(offsets.next(), &mut buf).await? == len,
            "too short"
        );
    }
    Ok(())
}

fn pread(file: &File, mut offsets: Offsets, len: usize, count: u64) -> Result<()> {
    let mut buf = vec![0; len];
    for _ in 0..count {
        ensure!(file.read_at(&mut buf, offsets.next())? == len, "too short");
    }
    Ok(())
}

/// Opens a layer that is there and reads its first 4 KiB, again and again.
#[derive(Args)]
pub(crate) struct Open {
    #[command(flatten)]
    target: Target,
    #[arg(long)]
    via: Via,
    #[arg(long)]
    count: u64,
}

impl Open {
    pub(crate) fn run(self) -> Result<Duration> {
        let mut buf = vec![0; 4096];
        runtime()?.block_on(async {
            let stack = self.target.stack()?;
            let layer = self.target.layer(&stack).await?;
            let path = path(&stack, &layer)?;
            stack.open(&layer).await?;
            let start = Instant::now();
            for _ in 0..self.count {
                let read = match self.via {
                    Via::Layer => stack.open(&layer).await?.read_at(0, &mut buf).await?,
                    Via::Pread => File::open(&path)?.read_at(&mut buf, 0)?,
                };
                ensure!(read == buf.len(), "too short");
            }
            Ok(start.elapsed())
        })
    }
}

/// The file of a layer in the cache directory.
fn path(stack: &Stack, layer: &LayerDescriptor) -> Result<PathBuf> {
    let disks = stack.disks();
    let disk = disks.first().context("there is no disk tier")?;
    Ok(disk
        .dir()
        .join(format!("layer-{}.decompressed", layer.digest.hex())))
}

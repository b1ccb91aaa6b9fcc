//! One stage of a fill, alone on one thread, with all that it needs in memory.

use std::fs::File;
use std::hint::black_box;
use std::io::{Cursor, Read, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use flate2::bufread::MultiGzDecoder;
use layercache::core::Algorithm;
use layercache::core::digest::DigestHasher;
use layercache::core::index::IndexBuilder;

/// The most that the stages of a fill hand to each other.
const PIECE_LEN: usize = 512 * 1024;

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// The digest of the blob.
    HashBlob,
    Inflate,
    /// The diff ID, and the hashes of the chunks.
    HashLayer,
    /// Into the page cache.
    Write,
    /// From there to the disk.
    Sync,
}

#[derive(Args)]
pub(crate) struct Stage {
    #[arg(long)]
    name: Name,
    /// The compressed blob, gzip or zstd.
    #[arg(long)]
    blob: PathBuf,
    /// What it inflates to.
    #[arg(long)]
    layer: PathBuf,
    /// The file that is written.
    #[arg(long)]
    to: PathBuf,
}

impl Stage {
    pub(crate) fn run(self) -> Result<Duration> {
        let input = match self.name {
            Name::HashBlob | Name::Inflate => std::fs::read(&self.blob)?,
            Name::HashLayer | Name::Write | Name::Sync => std::fs::read(&self.layer)?,
        };
        let mut start = Instant::now();
        match self.name {
            Name::HashBlob => {
                let mut hasher = DigestHasher::new(Algorithm::Sha256);
                input.chunks(PIECE_LEN).for_each(|piece| hasher.update(piece));
                black_box(hasher.finish());
            }
            Name::HashLayer => {
                let mut index = IndexBuilder::new(Algorithm::Sha256);
                input.chunks(PIECE_LEN).for_each(|piece| index.update(piece));
                black_box(index.len());
            }
            Name::Inflate if input.starts_with(&[0x1f, 0x8b]) => {
                drain(MultiGzDecoder::new(Cursor::new(input)))?;
            }
            Name::Inflate => drain(zstd::Decoder::with_buffer(Cursor::new(input))?)?,
            Name::Write | Name::Sync => {
                let mut file = File::create(&self.to)?;
                for piece in input.chunks(PIECE_LEN) {
                    file.write_all(piece)?;
                }
                if matches!(self.name, Name::Sync) {
                    start = Instant::now();
                    file.sync_data()?;
                }
            }
        }
        Ok(start.elapsed())
    }
}

fn drain(mut decoder: impl Read) -> Result<()> {
    let mut piece = vec![0; PIECE_LEN];
    while decoder.read(&mut piece).context("the blob does not inflate")? > 0 {
        black_box(&mut piece);
    }
    Ok(())
}

//! What the Redis client takes without the library.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::runtime;

/// GETs the chunks of a layer, pipelined, into a file. Nothing is verified.
#[derive(Args)]
pub(crate) struct Fetch {
    #[arg(long)]
    url: String,
    /// The layer's key: its chunks are at `KEY:0`, `KEY:1`, ...
    #[arg(long)]
    key: String,
    /// Length of the layer in bytes.
    #[arg(long)]
    len: u64,
    /// GETs in one pipeline.
    #[arg(long, default_value_t = 4)]
    pipeline: u64,
    #[arg(long)]
    to: PathBuf,
}

const CHUNK_LEN: u64 = 512 * 1024;

impl Fetch {
    pub(crate) fn run(self) -> Result<Duration> {
        let start = Instant::now();
        runtime()?.block_on(async {
            let client = redis::Client::open(self.url.as_str())?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            let mut file = File::create(&self.to)?;
            let chunks = self.len.div_ceil(CHUNK_LEN);
            let mut written = 0;
            for first in (0..chunks).step_by(usize::try_from(self.pipeline)?) {
                let mut gets = redis::pipe();
                for chunk in first..chunks.min(first + self.pipeline) {
                    gets.get(format!("{}:{chunk}", self.key));
                }
                let got: Vec<Option<Vec<u8>>> = gets.query_async(&mut connection).await?;
                for chunk in got {
                    let chunk = chunk.context("a chunk is not there")?;
                    file.write_all(&chunk)?;
                    written += chunk.len() as u64;
                }
            }
            ensure!(written == self.len, "{written} bytes");
            Ok(start.elapsed())
        })
    }
}

//! Readers for many minutes, while everything around them fails and recovers: the example `soak`.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::servers::s3::S3Kind;

/// Reads for some minutes. A seed repeats a run.
///
/// # Errors
///
/// If a read fails, bytes are wrong, something is left over, or memory grows.
pub fn run(sh: &Shell, minutes: f64, seed: Option<u64>) -> Result<()> {
    let servers = crate::start(sh, S3Kind::S3s)?;
    let numbers = [minutes.to_string()]
        .into_iter()
        .chain(seed.map(|seed| seed.to_string()));
    let soak = cmd!(
        sh,
        "cargo run --locked --profile quick --package lab --example soak -- {numbers...}"
    );
    Ok(soak.envs(servers.environment()).run()?)
}

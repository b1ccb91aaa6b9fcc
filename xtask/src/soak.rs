//! `cargo xtask soak`: readers for many minutes, while everything around them fails and recovers.

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use crate::servers::Servers;
use crate::servers::s3::S3Kind;
use crate::{environment, images};

/// `--minutes N`, and `--seed N` to repeat a run.
pub(crate) fn run(sh: &Shell, arguments: &[String]) -> Result<()> {
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let numbers: &[&str] = match words[..] {
        ["--minutes", minutes] => &[minutes],
        ["--minutes", minutes, "--seed", seed] => &[minutes, seed],
        _ => bail!("`cargo xtask soak --minutes N [--seed N]`"),
    };
    let images = images::ensure(sh)?;
    let servers = Servers::start(sh, &images, S3Kind::S3s)?;
    let mut soak = cmd!(
        sh,
        "cargo run --locked --profile quick --package layercache --example soak --features full --"
    );
    for (name, value) in environment::of(&servers, &images) {
        soak = soak.env(name, value);
    }
    soak.args(numbers).run()?;
    Ok(())
}

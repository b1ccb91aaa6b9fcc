//! Standard output.

use std::io::{self, Write};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use layercache::core::ByteStream;
use serde::Serialize;

/// Writes all of `bytes`.
pub(super) fn write(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .context(STDOUT)
}

/// Writes a value as JSON on one line.
pub(super) fn json(value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    write(&line)
}

/// Writes what comes, piece by piece: standard output may be a slow pipe, so the next piece comes only when the last is
/// written, off the runtime.
pub(super) async fn copy(mut bytes: ByteStream) -> Result<()> {
    while let Some(piece) = bytes.next().await {
        let piece: Bytes = piece?;
        tokio::task::spawn_blocking(move || write(&piece)).await??;
    }
    Ok(())
}

/// `1 layer`, `2 layers`.
pub(super) fn count(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{s}")
}

/// An error with all its causes, on one line.
pub(super) fn error_line(error: &layercache::core::Error) -> String {
    let mut line = format!("{:#}", anyhow::Error::new(error.clone()));
    // Text of a server may be in it: nothing of that may break the line or drive the terminal.
    line.retain(|c| !c.is_control());
    line
}

pub(super) const STDOUT: &str = "standard output";

/// Whether the reader of standard output has gone away, as `head` does: nothing is wrong then.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    // A connection breaks in the same way, but not while writing there.
    error.chain().any(|cause| cause.to_string() == STDOUT)
        && error.root_cause().downcast_ref().is_some_and(broken)
}

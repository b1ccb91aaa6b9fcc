//! Standard output.

use std::io::{self, Write};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use layercache::core::ByteStream;
use layercache::ops::{OpsError, error_line};
use serde::Serialize;

pub(super) use layercache::ops::{count, plain};

/// Writes all of `bytes`.
pub(super) fn write(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .context(STDOUT)
}

/// Writes a report as JSON on one line, its keys sorted.
pub(super) fn json(report: &impl Serialize) -> Result<()> {
    write(format!("{}\n", serde_json::to_value(report)?).as_bytes())
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

/// Tells the causes of an error on one line, without the tier, the operation and the layer: for a
/// place where these stand beside it.
pub(super) fn reason(error: &layercache::core::Error) -> String {
    let line = error_line(error);
    let begins = line.find(&plain(error.message())).unwrap_or(0);
    line[begins..].to_owned()
}

/// Ends a command: fails for the `failure` that its report has, if any.
pub(super) fn end(failure: Option<OpsError>) -> Result<()> {
    failure.map_or(Ok(()), |error| Err(error.into()))
}

pub(super) const STDOUT: &str = "standard output";

/// Whether the reader of standard output has gone away, as `head` does: nothing is wrong then.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    // A connection breaks in the same way, but not while writing there.
    error.chain().any(|cause| cause.to_string() == STDOUT)
        && error.root_cause().downcast_ref().is_some_and(broken)
}

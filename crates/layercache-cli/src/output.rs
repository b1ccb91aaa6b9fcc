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

/// What happened, with all causes, on one line: without the tier, the operation and the layer, where these stand beside it.
pub(super) fn reason(error: &layercache::core::Error) -> String {
    let line = error_line(error);
    let begins = line.find(&plain(error.message())).unwrap_or(0);
    line[begins..].to_owned()
}

/// An error with all its causes, on one line.
pub(super) fn error_line(error: &layercache::core::Error) -> String {
    one_line(&anyhow::Error::new(error.clone()))
}

/// The same of any error. A cause whose words are there already is not told again: some messages stand alone in a log as well.
pub(super) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.contains(&cause) {
            let colon = if line.is_empty() { "" } else { ": " };
            line.extend([colon, &cause]);
        }
    }
    plain(&line)
}

/// A text that a list, a server or an image may be the author of: nothing of it may break the line or drive the terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

pub(super) const STDOUT: &str = "standard output";

/// Whether the reader of standard output has gone away, as `head` does: nothing is wrong then.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    // A connection breaks in the same way, but not while writing there.
    error.chain().any(|cause| cause.to_string() == STDOUT)
        && error.root_cause().downcast_ref().is_some_and(broken)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn causes_are_told_once_and_on_one_line() {
        let error = anyhow!("refused\n")
            .context("redis: no answer (refused\n)")
            .context("debian:12");
        assert_eq!(one_line(&error), "debian:12: redis: no answer (refused)");
        let error = anyhow!("port 5000").context("redis: no answer");
        assert_eq!(one_line(&error), "redis: no answer: port 5000");
    }
}

//! What became of asking several sources, as one result.

use crate::{Digest, Error};

/// The errors of the sources that could not serve a layer.
#[derive(Debug, Default)]
pub(super) struct Outcomes(Vec<Error>);

impl Outcomes {
    pub(super) fn failed(&mut self, error: Error) {
        self.0.push(error);
    }

    /// The error of the source that failed last.
    pub(super) fn last(&self) -> Option<&Error> {
        self.0.last()
    }

    /// Another source has the layer: what failed on the way would otherwise stay unknown.
    pub(super) fn passed_over(&mut self) {
        for error in self.0.drain(..) {
            tracing::warn!(
                tier = error.tier(),
                digest = error.layer().map(tracing::field::display),
                error = reason(&error),
                "source passed over"
            );
        }
    }

    /// Absent only if nobody failed: a source that could not tell may have the layer.
    ///
    /// The kind is the most hopeful one, so that a caller retries if a retry can help.
    pub(super) fn into_error(mut self, cache: &str, layer: &Digest) -> Option<Error> {
        let kind = Error::most_hopeful(&self.0)?.kind();
        if self.0.len() == 1 {
            return self.0.pop();
        }
        let each: Vec<_> = self.0.iter().map(describe).collect();
        let message = format!("no source could serve the layer: {}", each.join("; "));
        Some(Error::new(kind, message).at(cache, "open").of_layer(layer))
    }
}

/// An error in one line, without the layer that the whole message names.
fn describe(error: &Error) -> String {
    match error.tier() {
        Some(tier) => format!("{tier}: {}", reason(error)),
        None => reason(error),
    }
}

/// What happened, with those of its causes that it does not repeat itself.
fn reason(error: &Error) -> String {
    let mut text = error.message().to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.extend([": ", &words]);
        }
        cause = error.source();
    }
    text
}

//! The state of a fill: the answers of the sources so far.

use super::early::EarlyBytes;
use super::lease::HeldLease;
use super::source_set::SourceSet;
use crate::{Digest, Error};

/// The state of a fill, from one round of asking the sources to the next.
#[derive(Debug, Default)]
pub(super) struct FillState {
    pub(super) failures: Failures,
    /// Not asked at all. Sources that fail are added, so that each costs its time-out once.
    pub(super) skip: SourceSet,
    /// Not claimed again.
    pub(super) no_claim: SourceSet,
    /// Have other bytes than the image claims.
    pub(super) suspects: Vec<usize>,
    /// Were rid of wrong bytes.
    pub(super) repaired: Vec<usize>,
    /// Of the tiers that were to be filled and were not, the error of the last.
    pub(super) refused: Option<(usize, Error)>,
    pub(super) early: EarlyBytes,
    /// The lease on the layer, while this worker holds it.
    pub(super) lease: Option<HeldLease>,
    /// Whether a lease was asked for, with or without success.
    pub(super) lease_settled: bool,
}

impl FillState {
    pub(super) fn new(skip: SourceSet, early_reads: bool) -> Self {
        Self {
            skip,
            early: EarlyBytes::new(early_reads),
            ..Self::default()
        }
    }

    /// Excludes a source that has failed.
    pub(super) fn fail(&mut self, source: usize, error: Error) {
        self.failures.add(error);
        self.skip.insert(source);
    }

    /// Excludes a source that has other bytes than the image claims. Which of both is wrong is not known yet.
    pub(super) fn suspect(&mut self, source: usize, error: Error) {
        self.suspects.push(source);
        self.fail(source, error);
    }
}

/// The errors of the sources that could not serve a layer, as one result in the end.
#[derive(Debug, Default)]
pub(super) struct Failures(Vec<Error>);

impl Failures {
    pub(super) fn add(&mut self, error: Error) {
        self.0.push(error);
    }

    /// The error of the source that failed last.
    pub(super) fn last(&self) -> Option<&Error> {
        self.0.last()
    }

    /// Logs the errors once another source serves the layer: otherwise they would stay unknown.
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

    /// Makes one error of all. Without any the layer is absent: a source that could not tell may have it.
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

/// Describes an error in one line, without the layer that the whole message names.
fn describe(error: &Error) -> String {
    match error.tier() {
        Some(tier) => format!("{tier}: {}", reason(error)),
        None => reason(error),
    }
}

/// Tells what happened, with those of the causes that the message does not repeat.
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

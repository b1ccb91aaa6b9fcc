//! `check`: asks every source of a stack if it can be used.

use cache_core::{Copying, Error};
use serde::Serialize;

use super::error::OpsError;
use super::text::{copying_or_null, error_or_null};
use crate::{Answer, SourceCheck, Stack};

/// The sources of a stack, in the order in which they are asked for layers.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// The sources that were configured.
    pub sources: Vec<CheckedSource>,
}

/// A source, and its answer.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CheckedSource {
    /// Name of the source.
    pub name: String,
    /// Kind of the source in the configuration.
    pub kind: String,
    /// The place of its layers; empty where the kind does not say.
    pub description: String,
    /// The time when its layers are copied to the tiers in front; `None` where there is no choice.
    #[serde(serialize_with = "copying_or_null")]
    pub fill: Option<Copying>,
    /// The time when layers from behind are copied to it; `None` where there is no choice.
    #[serde(serialize_with = "copying_or_null")]
    pub write_back: Option<Copying>,
    /// Tells if leases are kept there.
    pub lease: bool,
    /// The end of asking it.
    pub answer: CheckAnswer,
    /// The reason why it cannot be used.
    #[serde(serialize_with = "error_or_null")]
    pub error: Option<Error>,
}

/// The answer of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CheckAnswer {
    /// It can be used.
    #[serde(rename = "ok")]
    Ok,
    /// It cannot be used now.
    #[serde(rename = "failed")]
    Failed,
    /// There is nobody to ask before an image names a host, or the kind does not tell how.
    #[serde(rename = "not asked")]
    NotAsked,
}

/// Asks every source that was configured if it can be used, all at once.
///
/// # Cancellation
/// Dropping the future cancels the requests and leaves nothing behind.
pub async fn check(stack: &Stack) -> CheckReport {
    let sources = stack.check().await;
    warn_of_what_is_never_filled(stack, &sources);
    CheckReport {
        sources: sources.into_iter().map(CheckedSource::new).collect(),
    }
}

/// Warns of a tier behind a source that has every layer: that source is asked first, and copied
/// into the tiers in front of it.
fn warn_of_what_is_never_filled(stack: &Stack, sources: &[SourceCheck]) {
    let mut origin = None;
    for source in sources {
        match origin {
            None if stack.is_origin(&source.name) => origin = Some(&source.name),
            Some(origin) if source.takes_layers => tracing::warn!(
                tier = source.name,
                behind = origin,
                "the tier stands behind an origin, so no layer of that is ever kept in it: move it in front"
            ),
            _ => {}
        }
    }
}

impl CheckedSource {
    fn new(source: SourceCheck) -> Self {
        let (answer, error) = match source.answer {
            Answer::Answered => (CheckAnswer::Ok, None),
            Answer::Failed(error) => (CheckAnswer::Failed, Some(error)),
            Answer::NotAsked => (CheckAnswer::NotAsked, None),
        };
        Self {
            name: source.name,
            kind: source.kind,
            description: source.description,
            fill: source.fill,
            write_back: source.write_back,
            lease: source.leases,
            answer,
            error,
        }
    }
}

impl CheckReport {
    /// Returns the error that names the sources that cannot be used, if there are any.
    pub fn failure(&self) -> Option<OpsError> {
        let failed = self.sources.iter().filter(|source| source.error.is_some());
        let failed: Vec<_> = failed.map(|source| source.name.clone()).collect();
        (!failed.is_empty()).then_some(OpsError::NotUsable(failed))
    }
}

//! What is composed, and whether each part of it answers.

use std::time::Duration;

use cache_core::{Copying, Error, Result, Role};
use futures_util::future::join_all;

use super::{Part, Stack};

/// No source is waited for longer, whatever its own time-outs are.
const PATIENCE: Duration = Duration::from_secs(30);

/// One source of a [`Stack`], and whether it answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceCheck {
    /// The source's name.
    pub name: String,
    /// Its kind, as the configuration names it.
    pub kind: String,
    /// Where the layers are; empty where the kind does not say.
    pub description: String,
    /// How its layers get into the tiers in front; `None` where that is not a matter of choice: for the nearest source, and for
    /// one whose layers have to be read from the beginning.
    pub fill: Option<Copying>,
    /// How layers from behind get here; `None` for a source that is only read, and for a tier that is filled on the way.
    pub write_back: Option<Copying>,
    /// Whether it is a tier that layers from behind are copied to.
    pub takes_layers: bool,
    /// Whether workers leave fetching a layer to one of them, by leases that are kept here.
    pub leases: bool,
    /// What came of asking it.
    pub answer: Answer,
}

/// What came of asking a source.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It can be used.
    Answered,
    /// It cannot, for this reason.
    Failed(Error),
    /// There is nobody to ask before an image names a host, as with a registry; or the kind does not tell how.
    NotAsked,
}

impl Stack {
    /// Asks every source that was configured whether it can be used, all at once, each for 30 s at most. In their order.
    pub async fn check(&self) -> Vec<SourceCheck> {
        let configured = self.parts.iter().filter(|part| !part.is_implied());
        join_all(
            configured
                .enumerate()
                .map(|(position, part)| check(part, position == 0)),
        )
        .await
    }

    /// The names of the tiers that are shared with other workers: those that [`LayerCache::publish`](cache_core::LayerCache::publish)
    /// copies to.
    pub fn shared_tiers(&self) -> Vec<&str> {
        let shared = |part: &&Part| part.is_tier() && part.role() == Role::Shared;
        self.parts.iter().filter(shared).map(Part::name).collect()
    }
}

async fn check(part: &Part, nearest: bool) -> SourceCheck {
    let (capabilities, options) = (part.capabilities(), part.options());
    let written_back = part.is_tier() && !capabilities.read_while_write;
    SourceCheck {
        name: part.name().to_owned(),
        kind: part.kind().to_owned(),
        description: part.extras.description.as_deref().unwrap_or_default().to_owned(),
        fill: (part.role() != Role::Origin && !nearest).then_some(options.fill),
        write_back: written_back.then_some(options.write_back),
        takes_layers: part.takes_layers(),
        leases: written_back && options.leases.is_some(),
        answer: match &part.extras.check {
            None => Answer::NotAsked,
            Some(ask) => match bounded(ask()).await {
                Ok(()) => Answer::Answered,
                Err(error) => Answer::Failed(error.at(part.name(), "check")),
            },
        },
    }
}

/// What comes of asking a source, or that it stays silent.
pub(super) async fn bounded<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    let silence = |_| {
        let seconds = PATIENCE.as_secs();
        Err(Error::unavailable(format!("no answer within {seconds} s")))
    };
    tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap_or_else(silence)
}

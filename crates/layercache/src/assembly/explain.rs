//! What opening a layer would do now, found out without doing it.

use std::sync::Arc;

use cache_core::{Error, ErrorKind, LayerDescriptor, LayerReader, Role};
use futures_util::{StreamExt, stream};

use super::check::bounded;
use super::plan::Plan;
use super::{Glance, Part, Stack};

/// Layers that are asked for at once.
const MAX_CONCURRENT: usize = 8;

/// What each source of a [`Stack`] has of one layer, and what opening the layer would do now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// The layer.
    pub layer: LayerDescriptor,
    /// The sources in their order, up to the one that serves the layer. Origins that have layers of other images alone are left out.
    pub asked: Vec<Asked>,
    /// What opening the layer does; `None` where no source serves it.
    pub plan: Option<Plan>,
}

/// What one source has of a layer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Asked {
    /// The source's name.
    pub name: String,
    /// Its kind, as the configuration names it.
    pub kind: String,
    /// What was found.
    pub finding: Finding,
    /// Whether it is a tier that layers from behind are copied to.
    pub takes_layers: bool,
}

/// What was found at a source.
#[derive(Clone, Debug)]
pub enum Finding {
    /// It has the layer.
    Present,
    /// It has a file for it that has to be hashed before it is served: the index that would vouch for it is lost.
    Unverified,
    /// It lacks the layer.
    Absent,
    /// It lacks the layer, and would not take a copy, for this reason.
    Refused(Error),
    /// It is passed over, for this reason. What is [`Corrupt`](ErrorKind::Corrupt) in a tier is removed by whoever opens the layer, and
    /// what is [`Disputed`](ErrorKind::Disputed) once a copy from another source has refuted it; [`Invalid`](ErrorKind::Invalid) fails
    /// the opening.
    Failed(Error),
    /// It is an origin: to ask it is to begin to fetch. It would be asked.
    NotAsked,
}

impl Finding {
    /// Whether the search ends here, well or not.
    fn ends_the_search(&self) -> bool {
        match self {
            Self::Present | Self::Unverified | Self::NotAsked => true,
            Self::Failed(error) => error.kind() == ErrorKind::Invalid,
            Self::Absent | Self::Refused(_) => false,
        }
    }

    pub(super) fn serves(&self) -> bool {
        matches!(self, Self::Present | Self::Unverified | Self::NotAsked)
    }
}

impl Stack {
    /// Asks the sources for `layer` in their order, each for 30 s at most, until one has it; and tells what opening it would do. The
    /// layer is neither fetched nor copied, hashed, removed or leased. No error ends this: it is what was found.
    ///
    /// What it leaves behind all the same: the counts of the sources that were asked, their breakers' view of them, and, in a shared
    /// store, the notion that the layer's index was read. The disk tier keeps its time of last use, and is free to evict the
    /// layer: nothing stays open.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use layercache::core::{Digest, LayerDescriptor, MemoryTier};
    /// # use layercache::{Config, Finding, Kinds, Part, Stack};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let mut kinds = Kinds::builtin();
    /// kinds.register("shelf", |tier, _| Ok(Part::tier(Arc::new(MemoryTier::new(tier.name(), 64 << 20)))));
    /// let stack = Stack::assemble(&Config::parse("[[tier]]\nkind = \"shelf\"").unwrap(), &kinds).unwrap();
    /// let explanation = stack.explain(&LayerDescriptor::new(Digest::sha256_of(b"blob"))).await;
    /// assert!(matches!(explanation.asked[0].finding, Finding::Absent));
    /// assert!(explanation.plan.is_none());
    /// # });
    /// ```
    pub async fn explain(&self, layer: &LayerDescriptor) -> Explanation {
        let parts: Vec<&Part> = self.parts.iter().filter(|part| part.serves(layer)).collect();
        let mut asked = Vec::new();
        let mut len = None;
        for part in &parts {
            let (finding, reader) = ask(part, layer).await;
            len = reader.and_then(|reader| reader.len());
            let ends = finding.ends_the_search();
            asked.push(Asked {
                name: part.name().to_owned(),
                kind: part.kind().to_owned(),
                finding,
                takes_layers: part.takes_layers(),
            });
            if ends {
                break;
            }
        }
        Explanation {
            layer: layer.clone(),
            plan: Plan::new(&parts, &asked, len),
            asked,
        }
    }

    /// [Explains](Self::explain) each of these layers, eight at a time.
    pub async fn explain_all(&self, layers: &[LayerDescriptor]) -> Vec<Explanation> {
        // A vector, since a closure in the stream would keep the future from being `Send`.
        let explained: Vec<_> = layers.iter().map(|layer| self.explain(layer)).collect();
        stream::iter(explained).buffered(MAX_CONCURRENT).collect().await
    }
}

/// What the part has of a layer, and what reads it there.
pub(super) async fn ask(part: &Part, layer: &LayerDescriptor) -> (Finding, Option<Arc<dyn LayerReader>>) {
    if part.role() == Role::Origin {
        return (Finding::NotAsked, None);
    }
    match bounded(part.glance(layer)).await {
        Ok(Glance::Present(reader)) => (Finding::Present, Some(reader)),
        Ok(Glance::Unverified) => (Finding::Unverified, None),
        Ok(Glance::Absent) => (Finding::Absent, None),
        Ok(Glance::Refused(error)) => (Finding::Refused(error), None),
        Err(error) => {
            let error = error.at(part.name(), "open").of_layer(&layer.digest);
            (Finding::Failed(error), None)
        }
    }
}

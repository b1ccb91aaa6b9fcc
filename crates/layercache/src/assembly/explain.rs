//! What opening a layer would do now, found out without doing it.

use std::num::NonZeroU64;

use cache_core::cache::{self, Finding, PlannedCopy, PlannedHit};
use cache_core::{LayerDescriptor, Role};
use futures_util::{StreamExt, stream};

use super::{Part, Stack};

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

/// What opening a layer does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The name of the source that serves it.
    pub source: String,
    /// Length of the layer in bytes, where it is known before the layer is inflated.
    pub len: Option<u64>,
    /// How it is read.
    pub reading: Reading,
    /// The copies that are made, the nearest first: see [`PlannedHit::copies`].
    pub copies: Vec<PlannedCopy>,
    /// The name of the tier whose lease on the layer is taken first, or waited for while another worker has it.
    pub lease: Option<String>,
}

/// How a layer is read until the copies of it are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Where it is. Any part of a unit of this many bytes moves all of the unit.
    InPlace(NonZeroU64),
    /// Once all of it was copied, from the first copy.
    Copied,
    /// The whole blob is fetched and inflated: once where it is copied, and otherwise for each read.
    Inflated,
}

impl Plan {
    /// Adds to the cache's own plan the unit that reads of this part move.
    fn new(hit: PlannedHit, part: &Part) -> Self {
        Self {
            source: hit.source,
            len: hit.len,
            reading: match hit.reading {
                cache::Reading::InPlace => Reading::InPlace(part.read_unit()),
                cache::Reading::Copied => Reading::Copied,
                cache::Reading::Inflated => Reading::Inflated,
            },
            copies: hit.copies,
            lease: hit.lease,
        }
    }
}

impl Stack {
    /// Tells what each source has of `layer`, and what opening it would do, by
    /// [`LayerCache::plan`](cache_core::LayerCache::plan). The layer is neither fetched
    /// nor copied, hashed, removed or leased. No error ends this: it is among the findings.
    ///
    /// It leaves some traces all the same: the counts of the sources that were asked, their breakers' view of them, and, in a
    /// shared store, the notion that the layer's index was read. The disk tier keeps its time of last use, and is free to evict
    /// the layer: nothing stays open.
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
        let plan = self.cache().plan(layer).await;
        // The cache asks the parts in their order.
        let asked = || plan.asked.iter().zip(&self.parts);
        Explanation {
            layer: layer.clone(),
            asked: asked()
                .filter(|(asked, part)| {
                    part.role() != Role::Origin || !matches!(asked.finding, Finding::Absent)
                })
                .map(|(asked, part)| Asked {
                    name: asked.name.clone(),
                    kind: part.kind().to_owned(),
                    finding: asked.finding.clone(),
                    takes_layers: asked.takes_layers,
                })
                .collect(),
            plan: plan
                .hit
                .clone()
                .zip(asked().next_back())
                .map(|(hit, (_, part))| Plan::new(hit, part)),
        }
    }

    /// [Explains](Self::explain) each of these layers, eight at a time.
    pub async fn explain_all(&self, layers: &[LayerDescriptor]) -> Vec<Explanation> {
        // A vector, since a closure in the stream would keep the future from being `Send`.
        let explained: Vec<_> = layers.iter().map(|layer| self.explain(layer)).collect();
        stream::iter(explained).buffered(MAX_CONCURRENT).collect().await
    }
}

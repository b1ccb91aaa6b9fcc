//! The file tree of an image whose layers nobody has pulled, as far as it can be known.

use std::sync::Arc;

use cache_core::{Probe, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use image_tree::{ImageTree, LayerTree, TreeLimits, load};

use super::Stack;
use super::check::bounded;
use super::explain::Explanation;
use crate::image::{MAX_CONCURRENT, merge};

/// What is known of an image's file tree.
#[derive(Debug)]
pub enum KnownTree {
    /// All of it.
    Whole(ImageTree),
    /// Not enough to look a path up: the trees of the layers with these numbers are known only once they are pulled.
    Unknown(Vec<usize>),
}

impl Stack {
    /// The file tree of an image whose layers were explained, the base first. A tree that is kept next to its layer is loaded; else it
    /// is read from the layer, its headers alone, where a source has that and serves ranges, and not kept. Dropping the future cancels it.
    ///
    /// # Errors
    /// Those of reading, [`Corrupt`](cache_core::ErrorKind::Corrupt) when a layer is not a tar, and those of [`ImageTree::new`].
    pub async fn known_tree(&self, explained: &[Explanation]) -> Result<KnownTree> {
        // A vector, since a closure in the stream would keep the future from being `Send`.
        let trees: Vec<_> = explained
            .iter()
            .map(|layer| self.known_layer_tree(layer))
            .collect();
        let trees: Vec<_> = stream::iter(trees).buffered(MAX_CONCURRENT).try_collect().await?;
        let unknown: Vec<_> = (0..trees.len()).filter(|&layer| trees[layer].is_none()).collect();
        if !unknown.is_empty() {
            return Ok(KnownTree::Unknown(unknown));
        }
        let trees = trees.into_iter().flatten().collect();
        merge(trees).await.map(KnownTree::Whole)
    }

    async fn known_layer_tree(&self, explanation: &Explanation) -> Result<Option<Arc<LayerTree>>> {
        let (digest, limits) = (&explanation.layer.digest, TreeLimits::default());
        if let Some(tree) = load(&*self.trees, digest, &limits).await {
            return Ok(Some(tree));
        }
        let Some(plan) = &explanation.plan else {
            return Ok(None);
        };
        let Some(part) = self.parts.iter().find(|part| part.name() == plan.source) else {
            return Ok(None);
        };
        // Probed once more: an explanation that kept the layers open would keep the room of those that are evicted.
        let Probe::Present(reader) = bounded(part.probe(&explanation.layer))
            .await
            .map_err(|error| error.at(part.name(), "open").of_layer(digest))?
        else {
            return Ok(None);
        };
        let read = LayerTree::read(&*reader, &limits).await;
        read.map(|tree| Some(Arc::new(tree)))
            .map_err(|error| error.of_layer(digest))
    }
}

//! An image whose layers are open.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cache_core::{Error, LayerCache, LayerDescriptor, LayerReader, LayerSourceExt, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use image_tree::{
    FileReader, Follow, ImageTree, LayerTree, Node, NodeId, TreeLimits, TreeStore, load_or_build,
};

/// Layers of one image that are opened, or whose trees are loaded or built, at once.
pub(crate) const MAX_CONCURRENT: usize = 4;

/// An image whose layers are open: its file tree, and one reader for each layer.
///
/// Made by [`Stack::open_image`](crate::Stack::open_image). All that shows files of an image stands
/// on it: `ls`, `cat`, mounts. A layer stays open for as long as the handle lives: its room is not
/// free before, even if it is evicted meanwhile. A reader whose source fails goes on at the next
/// one, so a handle may live for days.
///
/// ```
/// # use layercache::{ImageHandle, tree::Follow};
/// # async fn example(image: &ImageHandle) -> layercache::core::Result<()> {
/// if let Some(node) = image.stat(b"/etc/os-release", Follow::All)? {
///     let file = image.open(node.id())?;
///     let mut beginning = [0; 512];
///     let read = file.read_at(0, &mut beginning).await?;
///     println!("{} of {} bytes, {} links", read, file.len(), node.links());
/// }
/// for (name, node) in image.tree().root().children() {
///     println!("{}: {:o}", name.escape_ascii(), node.entry().mode);
/// }
/// # Ok(())
/// # }
/// ```
pub struct ImageHandle {
    tree: ImageTree,
    /// By the number of the layer. A layer that an image has twice is open once.
    layers: Vec<Arc<dyn LayerReader>>,
}

impl ImageHandle {
    /// Opens the layers, the base first, and loads or builds their trees. Each layer is opened,
    /// since only that checks what its descriptor claims of it.
    pub(crate) async fn new(
        cache: &LayerCache,
        store: &dyn TreeStore,
        layers: &[LayerDescriptor],
    ) -> Result<Self> {
        let mut distinct = Vec::new();
        let mut numbers = HashMap::new();
        let places: Vec<usize> = layers
            .iter()
            .map(|layer| {
                *numbers.entry(layer).or_insert_with(|| {
                    distinct.push(layer);
                    distinct.len() - 1
                })
            })
            .collect();
        let opened: Vec<_> = stream::iter(distinct)
            .map(async |layer| {
                let reader = cache.get(layer).await?;
                let tree = load_or_build(store, layer, Arc::clone(&reader), &TreeLimits::default()).await?;
                Ok((reader, tree))
            })
            .buffered(MAX_CONCURRENT)
            .try_collect()
            .await?;
        let (layers, trees) = places.into_iter().map(|place| opened[place].clone()).unzip();
        Ok(Self {
            tree: merge(trees).await?,
            layers,
        })
    }

    /// The file tree of all layers together: what lists directories and follows links.
    pub fn tree(&self) -> &ImageTree {
        &self.tree
    }

    /// Finds the file at `path`, as [`ImageTree::resolve`] does.
    ///
    /// # Errors
    /// Those of [`ImageTree::resolve`].
    pub fn stat(&self, path: &[u8], follow: Follow) -> Result<Option<Node<'_>>> {
        self.tree.resolve(path, follow)
    }

    /// Opens a regular file for reading, in whole or in ranges. Costs nothing: its layer is open.
    ///
    /// # Errors
    /// [`Invalid`](cache_core::ErrorKind::Invalid) when the tree has no file of this number, or one
    /// that is not regular.
    pub fn open(&self, file: NodeId) -> Result<FileReader> {
        let node = self
            .tree
            .node(file)
            .ok_or_else(|| Error::invalid("no file of this image"))?;
        FileReader::new(Arc::clone(&self.layers[node.layer()]), node.entry())
    }

    /// The readers of the layers, the base first.
    pub fn layers(&self) -> &[Arc<dyn LayerReader>] {
        &self.layers
    }
}

impl fmt::Debug for ImageHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageHandle")
            .field("tree", &self.tree)
            .finish_non_exhaustive()
    }
}

/// Merges the trees of an image's layers, the base first, off the runtime's threads.
pub(crate) async fn merge(trees: Vec<Arc<LayerTree>>) -> Result<ImageTree> {
    let merged = tokio::task::spawn_blocking(move || ImageTree::new(trees, &TreeLimits::default()));
    merged.await.map_err(|error| {
        Error::unavailable(
            "the trees of the layers were not merged: the runtime is shutting down, or the work panicked",
        )
        .caused_by(error)
    })?
}

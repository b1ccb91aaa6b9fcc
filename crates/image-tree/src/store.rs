//! Keeps the tree of a layer next to the layer.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{Digest, Error, LayerDescriptor, LayerReader, Result};
use futures_util::StreamExt;

use crate::layer::is_another_version;
use crate::{LayerTree, LayerTreeBuilder, TreeLimits};

/// Encoding or decoding more than this many bytes, or entries, goes to the blocking pool; less costs about as much as
/// going there.
const INLINE: usize = 1024;

/// Where encoded trees are kept: companions of layers, of the kind "tree".
///
/// # Contract
/// - A tree is a cache entry: it may vanish at any time, and loading returns either what was stored last or `None`, or
///   damaged bytes, which decoding finds out.
/// - Dropping a future leaves the store with the old tree or with the new one.
#[async_trait]
pub trait TreeStore: Debug + Send + Sync {
    /// The encoded tree of `layer`, if there is one. The store bounds its length.
    ///
    /// # Errors
    /// When it cannot be told; the tree is built anew then.
    async fn load(&self, layer: &Digest) -> Result<Option<Bytes>>;

    /// Keeps `tree`, the encoded tree of `layer`, in place of what it had.
    ///
    /// # Errors
    /// When it is not kept; the tree is built anew the next time.
    async fn store(&self, layer: &Digest, tree: Bytes) -> Result<()>;
}

/// Loads the stored tree of `layer`, for a caller that would rather not open the layer. A store
/// that fails or whose tree is corrupt has none; that is logged. So has a store whose tree is of
/// another version: the next one takes its place.
pub async fn load(store: &dyn TreeStore, layer: &Digest, limits: &TreeLimits) -> Option<Arc<LayerTree>> {
    let (digest, limits) = (*layer, *limits);
    let found = match store.load(layer).await {
        Ok(None) => return None,
        Ok(Some(bytes)) if is_another_version(&bytes) => {
            tracing::debug!(%digest, "the stored tree of a layer is of another version");
            return None;
        }
        Ok(Some(bytes)) => off_runtime(bytes.len(), move || LayerTree::decode(&bytes, &digest, &limits))
            .await
            .flatten(),
        Err(error) => Err(error),
    };
    found
        .inspect_err(|error| tracing::warn!(%digest, %error, "the stored tree of a layer is of no use"))
        .map(Arc::new)
        .ok()
}

/// Builds the tree of `layer` from its bytes and stores it. Of a reader with random access only the
/// headers are read; another one is streamed once. A store that fails is logged and fails nothing.
///
/// Dropping the future cancels the reading.
///
/// # Errors
/// Those of [`LayerTreeBuilder`] and of the reader, naming the layer.
pub async fn build(
    store: &dyn TreeStore,
    layer: &LayerDescriptor,
    reader: Arc<dyn LayerReader>,
    limits: &TreeLimits,
) -> Result<Arc<LayerTree>> {
    let digest = layer.digest;
    let tree = if reader.random_access() {
        LayerTree::read(&*reader, limits).await
    } else {
        stream(reader, limits).await
    };
    let tree = Arc::new(tree.map_err(|error| error.of_layer(&digest))?);
    let encoded = {
        let tree = Arc::clone(&tree);
        off_runtime(tree.entries().len(), move || tree.encode(&digest)).await
    };
    let stored = match encoded {
        Ok(encoded) => store.store(&digest, encoded).await,
        Err(error) => Err(error),
    };
    if let Err(error) = stored {
        tracing::warn!(%digest, %error, "the tree of a layer was not stored");
    }
    Ok(tree)
}

/// The tree of `layer`: the stored one, or else one that is built from its bytes and stored.
///
/// # Errors
/// Those of [`build`].
pub async fn load_or_build(
    store: &dyn TreeStore,
    layer: &LayerDescriptor,
    reader: Arc<dyn LayerReader>,
    limits: &TreeLimits,
) -> Result<Arc<LayerTree>> {
    match load(store, &layer.digest, limits).await {
        Some(tree) => Ok(tree),
        None => build(store, layer, reader, limits).await,
    }
}

async fn stream(reader: Arc<dyn LayerReader>, limits: &TreeLimits) -> Result<LayerTree> {
    let mut builder = LayerTreeBuilder::new(*limits);
    let mut pieces = reader.stream(0);
    // To the very end, past the end marker: only there a source that verifies as it goes vouches for the bytes.
    while let Some(piece) = pieces.next().await {
        builder.push(&piece?)?;
        tokio::task::consume_budget().await;
    }
    builder.finish()
}

/// Runs `work`, on the blocking pool when its `size` is large.
async fn off_runtime<T: Send + 'static>(size: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    if size <= INLINE {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::unavailable("the runtime is shutting down, or the work on a layer's tree panicked")
            .caused_by(error)
    })
}

//! Where the file trees of layers are kept.

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{Digest, Result};
use image_tree::TreeStore;

/// Keeps nothing: for a stack without a tier that has room for companions.
#[derive(Debug)]
pub(crate) struct NoTrees;

#[async_trait]
impl TreeStore for NoTrees {
    async fn load(&self, _layer: &Digest) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn store(&self, _layer: &Digest, _tree: Bytes) -> Result<()> {
        Ok(())
    }
}

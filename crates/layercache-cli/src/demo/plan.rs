//! Which bytes are read, and what they must be.

use std::path::Path;

use anyhow::{Result, bail};
use layercache::core::{Digest, LayerDescriptor, LayerReaderExt};
use layercache::registry::{Image, ImageLocation, Platform};
use layercache::tree::{ImageTree, Node};
use layercache::{Kinds, Stack};
use serde::{Deserialize, Serialize};

use super::way::Way;

/// Most bytes read of one file: what a start-up reads of most.
const MAX_READ: u64 = 64 * 1024;

/// Reads of an image's files. Texts stand for digests, since it travels to another process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) layers: Vec<PlannedLayer>,
    pub(super) reads: Vec<PlannedRead>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PlannedLayer {
    digest: String,
    pub(super) size: Option<u64>,
    diff_id: Option<String>,
    repository: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PlannedRead {
    /// Number of the layer.
    pub(super) layer: usize,
    /// Offset in the layer, in bytes.
    pub(super) offset: u64,
    pub(super) len: usize,
    /// Digest of the bytes.
    pub(super) digest: String,
}

impl PlannedLayer {
    fn new(layer: &LayerDescriptor) -> Self {
        Self {
            digest: layer.digest.to_string(),
            size: layer.size,
            diff_id: layer.diff_id.map(|diff_id| diff_id.to_string()),
            repository: layer.repository.as_deref().map(str::to_owned),
        }
    }

    pub(super) fn descriptor(&self) -> Result<LayerDescriptor> {
        let mut layer = LayerDescriptor::new(self.digest.parse()?);
        layer.size = self.size;
        layer.diff_id = self.diff_id.as_deref().map(str::parse).transpose()?;
        layer.repository = self.repository.as_deref().map(Into::into);
        Ok(layer)
    }
}

impl Plan {
    /// Chooses files evenly among all of the image, and looks up what they contain, through a cache of its own in
    /// `scratch`.
    pub(super) async fn make(
        location: &ImageLocation,
        platform: &Platform,
        files: u32,
        plain_http: bool,
        scratch: &Path,
    ) -> Result<Self> {
        let config = Way::Cold.configuration(plain_http, &scratch.join("plan"))?;
        let stack = Stack::assemble(&config, &Kinds::builtin())?;
        let image = stack.resolve(location, platform).await?;
        let opened = stack.open_image(&image.layers).await?;
        let mut reads = Vec::new();
        for (layer, offset, len) in choose(opened.tree(), files as usize) {
            let bytes = opened.layers()[layer].read_bytes(offset, len).await?;
            reads.push(PlannedRead {
                layer,
                offset,
                len,
                digest: Digest::sha256_of(&bytes).to_string(),
            });
        }
        if reads.is_empty() {
            bail!("{location} has no files to read");
        }
        stack.cache().close().await;
        Ok(Self {
            layers: layers(&image),
            reads,
        })
    }
}

fn layers(image: &Image) -> Vec<PlannedLayer> {
    image.layers.iter().map(PlannedLayer::new).collect()
}

/// The beginnings of `count` files: number of the layer, offset in it, and length.
fn choose(tree: &ImageTree, count: usize) -> Vec<(usize, u64, usize)> {
    let files: Vec<_> = tree
        .root()
        .walk()
        .filter_map(|(_, node)| beginning(&node))
        .collect();
    let count = count.min(files.len());
    (0..count)
        .map(|number| files[number * files.len() / count])
        .collect()
}

fn beginning(node: &Node<'_>) -> Option<(usize, u64, usize)> {
    let extent = node.entry().file()?.extents().first()?;
    let len = usize::try_from(extent.len.min(MAX_READ)).ok()?;
    (len > 0).then_some((node.layer(), extent.offset, len))
}

//! The kind `disk`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{Digest, Result};
use cache_disk::{DiskConfig, DiskTier};
use image_tree::TreeStore;

use super::kinds::{Kinds, Shared};
use super::part::Part;
use super::stack::Stack;
use crate::config::{ConfigError, Key, TierConfig};

/// The companion that the file tree of a layer is.
const TREE: &str = "tree";
/// Longest encoded tree in bytes that is loaded; a longer one is built anew each time.
const MAX_TREE_LEN: usize = 256 << 20;

pub(super) fn register(kinds: &mut Kinds) {
    kinds.register_with_keys("disk", keys(), part);
}

fn keys() -> [Key<DiskConfig>; 3] {
    type Of = Key<DiskConfig>;
    [
        Of::path(
            "dir",
            "The directory of the layers: created with mode 0700 if it is not there. It belongs to its user, and is neither\n\
             a symbolic link nor writable by others.",
            |config| &mut config.dir,
        )
        .found("$XDG_CACHE_HOME/clip, else ~/.cache/clip, else /tmp/clip-oci-cache-<uid>")
        .such_as("\"/var/cache/clip\"")
        .check(|DiskConfig { dir, .. }| match dir.as_os_str().as_encoded_bytes().starts_with(b"~") {
            true => Err(format!(
                "{:?}: `~` stands for a home directory in shells only: write it out",
                dir.display()
            )),
            false => Ok(()),
        }),
        Of::size(
            "max_bytes",
            "What the layers may take: beyond this, layers are evicted.",
            |config| &mut config.max_bytes,
        )
        .unset("no limit but that of the file system")
        .such_as("\"200GiB\""),
        Of::size(
            "min_free_bytes",
            "How much of the file system is left free.",
            |config| &mut config.min_free_bytes,
        ),
    ]
}

fn part(config: DiskConfig, tier: &TierConfig, shared: &Shared) -> Result<Part, ConfigError> {
    let disk = DiskTier::open(config.with_name(tier.name()).with_create(shared.create))?;
    let [trees, evictions, checked, sampled] = [(); 4].map(|()| disk.clone());
    let mut part = Part::tier(Arc::new(disk.clone()))
        .with_description(disk.dir().display().to_string())
        .with_check(move || {
            let disk = checked.clone();
            async move { disk.check().await }
        })
        .with_sample(move || {
            let disk = sampled.clone();
            async move {
                if let Err(error) = disk.sample_metrics().await {
                    tracing::warn!(%error, "how much the cache takes is unknown");
                }
            }
        })
        .with_trees(Arc::new(DiskTrees(trees)))
        .with_evicted(move || evictions.evicted_layers());
    part.extras.disk = Some(disk);
    Ok(part)
}

/// Keeps the trees next to the layers, where they are evicted with them.
#[derive(Debug)]
struct DiskTrees(DiskTier);

#[async_trait]
impl TreeStore for DiskTrees {
    async fn load(&self, layer: &Digest) -> Result<Option<Bytes>> {
        self.0.read_companion(layer, TREE, MAX_TREE_LEN).await
    }

    async fn store(&self, layer: &Digest, tree: Bytes) -> Result<()> {
        self.0.write_companion(layer, TREE, tree).await
    }
}

impl Stack {
    /// The disk tiers, for what an operator does to them.
    pub fn disks(&self) -> Vec<&DiskTier> {
        self.parts
            .iter()
            .filter_map(|part| part.extras.disk.as_ref())
            .collect()
    }
}

//! The kind `disk`.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{Digest, LayerDescriptor, Result};
use cache_disk::{DEFAULT_MIN_FREE_BYTES, DiskConfig, DiskTier, Peek, default_dir};
use image_tree::TreeStore;
use serde::Deserialize;

use super::{Glance, Part, Shared, Stack};
use crate::config::Size;
use crate::{ConfigError, Setting, TierConfig, Unset, ValueType};

/// The companion that the file tree of a layer is.
const TREE: &str = "tree";
/// Longest encoded tree in bytes that is loaded; a longer one is built anew each time.
const MAX_TREE_LEN: usize = 256 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    dir: Option<PathBuf>,
    max_bytes: Option<Size>,
    min_free_bytes: Option<Size>,
}

pub(super) const SETTINGS: [Setting; 3] = [
    Setting::new(
        "dir",
        ValueType::Path,
        "The directory of the layers: created with mode 0700 if it is not there. It belongs to its user, and is neither\n\
         a symbolic link nor writable by others.",
        Unset::Found {
            how: "$XDG_CACHE_HOME/clip, else ~/.cache/clip, else /tmp/clip-oci-cache-<uid>",
            value: || default_dir().to_str().map(Into::into),
        },
    )
    .such_as("\"/var/cache/clip\""),
    Setting::new(
        "max_bytes",
        ValueType::Size,
        "What the layers may take: beyond this, layers are evicted.",
        Unset::Nothing("no limit but that of the file system"),
    )
    .such_as("\"200GiB\""),
    Setting::new(
        "min_free_bytes",
        ValueType::Size,
        "How much of the file system is left free.",
        Unset::Value("\"256MiB\""),
    ),
];

pub(super) fn part(tier: &TierConfig, shared: &Shared) -> Result<Part, ConfigError> {
    let disk = DiskTier::open(config(tier)?.with_create(shared.create))?;
    let [trees, evictions, checked, sampled, peeked] = [(); 5].map(|()| disk.clone());
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
        .with_glance(move |layer| peek(peeked.clone(), layer))
        .with_trees(Arc::new(DiskTrees(trees)))
        .with_evicted(move || evictions.evicted_layers());
    part.extras.disk = Some(disk);
    Ok(part)
}

pub(super) fn config(tier: &TierConfig) -> Result<DiskConfig, ConfigError> {
    let Settings {
        dir,
        max_bytes,
        min_free_bytes,
    } = tier.settings()?;
    if let Some(dir) = dir
        .as_ref()
        .filter(|dir| dir.as_os_str().as_encoded_bytes().starts_with(b"~"))
    {
        return Err(tier.mistake_in(
            "dir",
            &format!(
                "{:?}: `~` stands for a home directory in shells only: write it out",
                dir.display()
            ),
        ));
    }
    Ok(DiskConfig::new(dir.unwrap_or_else(default_dir))
        .with_name(tier.name())
        .with_max_bytes(max_bytes.map(|size| size.0))
        .with_min_free_bytes(min_free_bytes.map_or(DEFAULT_MIN_FREE_BYTES, |size| size.0)))
}

async fn peek(disk: DiskTier, layer: LayerDescriptor) -> Result<Glance> {
    Ok(match disk.peek(&layer).await? {
        Peek::Absent => Glance::Absent,
        Peek::Refused(error) => Glance::Refused(error),
        Peek::Present(reader) => Glance::Present(reader),
        _ => Glance::Unverified,
    })
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

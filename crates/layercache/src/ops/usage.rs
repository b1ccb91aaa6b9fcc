//! `usage`: how much the layers of the cache directories take, which images have them, and which
//! layers would be evicted next.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cache_core::{Digest, LayerSource};
use cache_disk::{CachedLayer, DiskContents, DiskTier, ImageRecord, Standing};
use serde::{Serialize, Serializer};

use super::disks::disks;
use super::error::{OpsError, Place};
use super::progress::{Event, Progress};
use super::text::{seconds, text, text_or_null};
use crate::Stack;

/// The usage of one cache directory. Bytes of a layer include its companions.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct UsageReport {
    /// Name of the tier.
    pub tier: String,
    /// The directory.
    pub dir: PathBuf,
    /// Number of layers.
    pub layers: u64,
    /// Bytes of all layers, and of the quarantine.
    pub bytes: u64,
    /// The limit on `bytes`; `None` for none.
    pub max_bytes: Option<u64>,
    /// Free bytes of the file system.
    pub free_bytes: u64,
    /// The limit on `free_bytes`.
    pub min_free_bytes: u64,
    /// Number of cached layers that are pinned.
    pub pinned_layers: u64,
    /// Bytes of the cached layers that are pinned.
    pub pinned_bytes: u64,
    /// Bytes of all layers that are pinned, cached or not, as far as their lengths are known.
    pub pinned_total_bytes: u64,
    /// Number of layers in quarantine.
    pub quarantined_layers: u64,
    /// Bytes of the quarantine.
    pub quarantined_bytes: u64,
    /// The images that are remembered.
    pub images: Vec<ImageUsage>,
    /// Number of layers that no remembered image has.
    pub unattributed_layers: u64,
    /// Bytes of the layers that no remembered image has.
    pub unattributed_bytes: u64,
    /// The layers, the one that is evicted first first.
    pub eviction_order: Vec<EvictableLayer>,
}

/// An image that a cache directory remembers.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ImageUsage {
    /// Name of the image.
    pub image: String,
    /// The platform that it is for.
    pub platform: String,
    /// Digest of its manifest.
    #[serde(serialize_with = "text_or_null")]
    pub digest: Option<Digest>,
    /// Tells if its layers are evicted after all others.
    pub pinned: bool,
    /// Number of different layers, cached or not.
    pub layers: usize,
    /// Number of them that are cached.
    pub cached_layers: u64,
    /// Bytes of those that are cached.
    pub bytes: u64,
    /// Bytes of those that are cached and belong to other images as well.
    pub shared_bytes: u64,
    /// Time of the last use of any of them in seconds since 1970.
    pub last_used: Option<u64>,
}

/// A layer, and its turn to be evicted.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct EvictableLayer {
    /// Digest of the layer.
    #[serde(serialize_with = "text")]
    pub digest: Digest,
    /// Bytes of the layer.
    pub bytes: u64,
    /// Time of its last use in seconds since 1970.
    pub last_used: Option<u64>,
    /// The reason for its turn.
    #[serde(serialize_with = "standing")]
    pub standing: Standing,
}

fn standing<S: Serializer>(standing: &Standing, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match standing {
        Standing::Probation => "probation",
        Standing::InUse => "in use",
        Standing::Open => "open",
        Standing::Pinned => "pinned",
        _ => "other",
    })
}

/// Measures each cache directory, and warns of pins that exceed the quota.
///
/// Tells [`Directory`](Event::Directory) and [`Measured`](Event::Measured) for each.
///
/// # Errors
/// [`NoDisk`](OpsError::NoDisk), and the error of the first directory that cannot be read.
///
/// # Cancellation
/// Dropping the future leaves nothing behind.
pub async fn usage(stack: &Stack, progress: &dyn Progress) -> Result<Vec<UsageReport>, OpsError> {
    let mut reports = Vec::new();
    for disk in disks(stack).await? {
        progress.tell(Event::Directory(disk.dir()));
        let contents = disk.contents().await.at(|| disk.dir().display())?;
        let report = UsageReport::new(disk, &contents);
        progress.tell(Event::Measured(&report));
        warn_of_pins(disk, &contents);
        reports.push(report);
    }
    Ok(reports)
}

/// Warns of pins that leave no room for anything else: a mistake that shows late, since the pinned
/// layers that are cached never exceed the quota.
pub(super) fn warn_of_pins(disk: &DiskTier, contents: &DiskContents) {
    let pinned = pinned_total_bytes(contents);
    if let Some(max) = contents.usage.max_bytes.filter(|max| pinned > *max) {
        tracing::warn!(
            tier = disk.name(),
            pinned_total_bytes = pinned,
            max_bytes = max,
            "what is pinned is more than the quota: pinned layers are evicted as well; unpin images or raise `max_bytes`"
        );
    }
}

/// Sums up all layers that are pinned, cached or not. The length of a layer is known once it was
/// pulled, so there may be more.
fn pinned_total_bytes(contents: &DiskContents) -> u64 {
    let mut lengths: BTreeMap<&Digest, u64> = BTreeMap::new();
    for image in contents.images.iter().filter(|image| image.pinned) {
        lengths.extend(image.layers.iter().zip(image.lengths.iter().copied()));
    }
    let cached = contents.layers.iter();
    let pinned = cached.filter(|layer| layer.standing == Standing::Pinned);
    lengths.extend(pinned.map(|layer| (&layer.digest, layer.bytes)));
    // A record may state any length.
    lengths.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
}

/// Number of layers, and their bytes.
#[derive(Clone, Copy, Default)]
struct Extent {
    layers: u64,
    bytes: u64,
}

impl<'a> FromIterator<&'a CachedLayer> for Extent {
    fn from_iter<I: IntoIterator<Item = &'a CachedLayer>>(layers: I) -> Self {
        layers.into_iter().fold(Self::default(), |sum, layer| Self {
            layers: sum.layers + 1,
            bytes: sum.bytes + layer.bytes,
        })
    }
}

impl UsageReport {
    fn new(disk: &DiskTier, contents: &DiskContents) -> Self {
        let DiskContents {
            usage,
            layers,
            images,
            ..
        } = contents;
        let pinned = layers.iter().filter(|layer| layer.standing == Standing::Pinned);
        let pinned: Extent = pinned.collect();
        let mut owners = BTreeMap::<&Digest, usize>::new();
        for image in images {
            for digest in image.layers.iter().collect::<BTreeSet<_>>() {
                *owners.entry(digest).or_default() += 1;
            }
        }
        let unattributed = layers.iter().filter(|layer| !owners.contains_key(&layer.digest));
        let unattributed: Extent = unattributed.collect();
        let cached: BTreeMap<_, _> = layers.iter().map(|layer| (&layer.digest, layer)).collect();
        let evictable = |layer: &CachedLayer| EvictableLayer {
            digest: layer.digest,
            bytes: layer.bytes,
            last_used: seconds(layer.last_used),
            standing: layer.standing,
        };
        Self {
            tier: disk.name().to_owned(),
            dir: disk.dir().to_owned(),
            layers: usage.layers,
            bytes: usage.bytes,
            max_bytes: usage.max_bytes,
            free_bytes: usage.free_bytes,
            min_free_bytes: usage.min_free_bytes,
            pinned_layers: pinned.layers,
            pinned_bytes: pinned.bytes,
            pinned_total_bytes: pinned_total_bytes(contents),
            quarantined_layers: usage.quarantined_layers,
            quarantined_bytes: usage.quarantined_bytes,
            images: images
                .iter()
                .map(|record| ImageUsage::new(record, &cached, &owners))
                .collect(),
            unattributed_layers: unattributed.layers,
            unattributed_bytes: unattributed.bytes,
            eviction_order: layers.iter().map(evictable).collect(),
        }
    }
}

impl ImageUsage {
    fn new(
        record: &ImageRecord,
        cached: &BTreeMap<&Digest, &CachedLayer>,
        owners: &BTreeMap<&Digest, usize>,
    ) -> Self {
        let layers: BTreeSet<_> = record.layers.iter().collect();
        let here = || layers.iter().filter_map(|digest| cached.get(digest).copied());
        let extent: Extent = here().collect();
        let shared: Extent = here().filter(|layer| owners[&layer.digest] > 1).collect();
        Self {
            image: record.name.clone(),
            platform: record.platform.clone(),
            digest: record.manifest,
            pinned: record.pinned,
            layers: layers.len(),
            cached_layers: extent.layers,
            bytes: extent.bytes,
            shared_bytes: shared.bytes,
            last_used: here().map(|layer| layer.last_used).max().and_then(seconds),
        }
    }
}

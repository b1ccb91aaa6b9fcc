//! `gc`, `clear` and `remove`: remove layers from the cache directories.

use std::collections::BTreeSet;
use std::path::PathBuf;

use cache_core::{Digest, LayerSource, Tier};
use cache_disk::{DiskContents, DiskTier, GcOptions, GcReport, Standing};
use registry::{ImageLocation, Platform};
use serde::Serialize;

use super::disks::disks;
use super::error::{OpsError, Place};
use super::images::{image_name, records_of};
use super::progress::{Event, Progress};
use super::text::text;
use super::usage::warn_of_pins;
use crate::Stack;

/// The layers that were removed from one cache directory, or would be. Bytes of a layer include its
/// companions.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RemovalReport {
    /// Name of the tier.
    pub tier: String,
    /// The directory.
    #[serde(skip)]
    pub dir: PathBuf,
    /// Tells if nothing was removed, and the rest is what would be.
    pub dry_run: bool,
    /// The layers that were removed, in the order in which they went.
    pub removed: Vec<RemovedLayer>,
    /// Number of layers that were removed.
    pub removed_layers: u64,
    /// Bytes of the layers that were removed.
    pub removed_bytes: u64,
    /// Number of files that were removed of processes that died.
    pub removed_leftovers: u64,
    /// Number of layers that were removed from the quarantine.
    pub removed_quarantined: u64,
    /// Number of images that were forgotten because no layer was left.
    pub removed_images: u64,
    /// Number of layers that are left.
    pub layers: u64,
    /// Bytes that are left.
    pub bytes: u64,
}

/// A layer that was removed, or would be.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RemovedLayer {
    /// Digest of the layer.
    #[serde(serialize_with = "text")]
    pub digest: Digest,
    /// Bytes of the layer.
    pub bytes: u64,
    /// Tells if the layer is pinned; `None` unless of a dry run.
    pub pinned: Option<bool>,
}

/// The end of a removal of one layer.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct RemoveReport {
    /// Digest of the layer.
    #[serde(serialize_with = "text")]
    pub digest: Digest,
    /// Tells if the layer was there.
    pub removed: bool,
}

/// Removes from each cache directory what crashes have left, and the layers that `options` choose.
///
/// The layers of the images in `keep` are kept, as they were when they were pulled last; they take
/// the place of [`GcOptions::keep`] unless there are none. Warns of pins that exceed the quota.
/// Tells [`Directory`](Event::Directory) and [`Removed`](Event::Removed) for each directory.
///
/// # Errors
/// [`NoDisk`](OpsError::NoDisk), [`UnknownImage`](OpsError::UnknownImage), and the error of the
/// first directory that cannot be read or written.
///
/// # Cancellation
/// Dropping the future does not stop the removal in a directory that has begun: it runs to its end.
pub async fn gc(
    stack: &Stack,
    mut options: GcOptions,
    keep: &[ImageLocation],
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<Vec<RemovalReport>, OpsError> {
    let disks = disks(stack).await?;
    if !keep.is_empty() {
        options.keep = Some(layers_of(&disks, keep, platform).await?);
    }
    let mut reports = Vec::new();
    for disk in disks {
        progress.tell(Event::Directory(disk.dir()));
        let at = || disk.dir().display();
        let removed = disk.gc(options.clone()).await.at(at)?;
        let contents = disk.contents().await.at(at)?;
        let report = RemovalReport::new(disk, removed, options.dry_run.then_some(&contents));
        progress.tell(Event::Removed(&report));
        warn_of_pins(disk, &contents);
        reports.push(report);
    }
    Ok(reports)
}

/// Removes every layer from each cache directory, and what else [`DiskTier::clear`] does.
///
/// Tells [`Directory`](Event::Directory) and [`Removed`](Event::Removed) for each.
///
/// # Errors
/// [`NoDisk`](OpsError::NoDisk), and the error of the first directory that may still have a layer.
///
/// # Cancellation
/// Dropping the future does not stop the removal in a directory that has begun: it runs to its end.
pub async fn clear(stack: &Stack, progress: &dyn Progress) -> Result<Vec<RemovalReport>, OpsError> {
    let mut reports = Vec::new();
    for disk in disks(stack).await? {
        progress.tell(Event::Directory(disk.dir()));
        let removed = disk.clear().await.at(|| disk.dir().display())?;
        let report = RemovalReport::new(disk, removed, None);
        progress.tell(Event::Removed(&report));
        reports.push(report);
    }
    Ok(reports)
}

/// Removes one layer from every cache directory.
///
/// Tells [`LayerRemoved`](Event::LayerRemoved).
///
/// # Errors
/// [`NoDisk`](OpsError::NoDisk), and the error of the first directory that still has it.
///
/// # Cancellation
/// Dropping the future does not stop the removal in a directory that has begun: it runs to its end.
pub async fn remove(
    stack: &Stack,
    digest: &Digest,
    progress: &dyn Progress,
) -> Result<RemoveReport, OpsError> {
    let mut removed = false;
    for disk in disks(stack).await? {
        removed |= disk.remove(digest).await.at(|| disk.dir().display())?;
    }
    let digest = *digest;
    let report = RemoveReport { digest, removed };
    progress.tell(Event::LayerRemoved(&report));
    Ok(report)
}

/// Returns the layers of images, by the records of all directories. An image without a record is a
/// mistake rather than an image without layers.
async fn layers_of(
    disks: &[&DiskTier],
    images: &[ImageLocation],
    platform: Option<&Platform>,
) -> Result<BTreeSet<Digest>, OpsError> {
    let mut records = Vec::new();
    for disk in disks {
        records.extend(disk.images().await.at(|| disk.dir().display())?);
    }
    let mut layers = BTreeSet::new();
    for location in images {
        let found = records_of(&records, &image_name(location)?, platform);
        if found.is_empty() {
            return Err(OpsError::UnknownImage.at(location));
        }
        layers.extend(found.into_iter().flat_map(|record| &record.layers));
    }
    Ok(layers)
}

impl RemovalReport {
    /// Makes the report of a removal, or of a dry run in a directory that has `contents`.
    fn new(disk: &DiskTier, removed: GcReport, contents: Option<&DiskContents>) -> Self {
        let pinned = contents.map(|contents| {
            let layers = contents.layers.iter();
            let pinned = layers.filter(|layer| layer.standing == Standing::Pinned);
            pinned.map(|layer| layer.digest).collect::<BTreeSet<_>>()
        });
        let layer = |(digest, bytes)| RemovedLayer {
            digest,
            bytes,
            pinned: pinned.as_ref().map(|pinned| pinned.contains(&digest)),
        };
        Self {
            tier: disk.name().to_owned(),
            dir: disk.dir().to_owned(),
            dry_run: contents.is_some(),
            removed: removed.removed.into_iter().map(layer).collect(),
            removed_layers: removed.removed_layers,
            removed_bytes: removed.removed_bytes,
            removed_leftovers: removed.removed_leftovers,
            removed_quarantined: removed.removed_quarantined,
            removed_images: removed.removed_images,
            layers: removed.layers,
            bytes: removed.bytes,
        }
    }
}

impl RemoveReport {
    /// Returns an error if no directory had the layer.
    pub fn failure(&self) -> Option<OpsError> {
        (!self.removed).then_some(OpsError::NotCached(self.digest))
    }
}

//! `pin` and `unpin`: decide whose layers are evicted after all others.

use std::collections::BTreeSet;
use std::path::PathBuf;

use cache_core::{Digest, LayerSource};
use cache_disk::{DiskTier, ImageRecord};
use registry::{Image, ImageLocation, Platform};
use serde::Serialize;

use super::disks::disks;
use super::error::{OpsError, Place};
use super::images::{image_name, record, records_of, resolve};
use super::progress::{Event, Progress};
use super::text::texts_if_any;
use super::usage::warn_of_pins;
use crate::Stack;

/// An image that is pinned in one cache directory now, or no longer.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PinReport {
    /// Name of the tier.
    pub tier: String,
    /// The directory.
    #[serde(skip)]
    pub dir: PathBuf,
    /// Name of the image.
    pub image: String,
    /// The platform that it is for.
    pub platform: String,
    /// Tells if it is pinned now.
    pub pinned: bool,
    /// Number of different layers; `None` of `unpin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// The layers that are not cached; `None` of `unpin`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "texts_if_any")]
    pub missing: Option<Vec<Digest>>,
}

/// The images that are no longer pinned.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct UnpinReport {
    /// One entry for each image and directory where it was pinned.
    pub images: Vec<PinReport>,
    /// Names of the images that were pinned nowhere.
    pub not_pinned: Vec<String>,
}

/// Pins images in each cache directory, and warns of pins that exceed the quota.
///
/// An image is pinned as it was when it was pulled last; one that never was is looked up. Tells
/// [`Directory`](Event::Directory) for each image and directory, and [`Pinned`](Event::Pinned) for
/// each record.
///
/// # Errors
/// [`NoDisk`](OpsError::NoDisk), those of [`resolve`], and the error of the first directory that
/// cannot be read or written. Images before that one are pinned.
///
/// # Cancellation
/// Dropping the future begins nothing more; a record that is being written is written.
pub async fn pin(
    stack: &Stack,
    images: &[ImageLocation],
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<Vec<PinReport>, OpsError> {
    let disks = disks(stack).await?;
    let mut reports = Vec::new();
    for location in images {
        let mut image = None;
        for disk in &disks {
            progress.tell(Event::Directory(disk.dir()));
            let pinned = pin_at(stack, disk, location, platform, &mut image).await;
            let pinned = pinned.at(|| disk.dir().display())?;
            let contents = disk.contents().await?;
            let cached: BTreeSet<_> = contents.layers.iter().map(|layer| layer.digest).collect();
            for record in pinned {
                let report = PinReport::pinned(disk, record, &cached);
                progress.tell(Event::Pinned(&report));
                reports.push(report);
            }
            warn_of_pins(disk, &contents);
        }
    }
    Ok(reports)
}

/// Pins the records of an image, or the image as it is now where there is none; returns what was
/// pinned. `image` keeps what was looked up, so that this is done once.
async fn pin_at(
    stack: &Stack,
    disk: &DiskTier,
    location: &ImageLocation,
    platform: Option<&Platform>,
    image: &mut Option<Image>,
) -> Result<Vec<ImageRecord>, OpsError> {
    let known = disk.images().await?;
    let mut pinned = Vec::new();
    for record in records_of(&known, &image_name(location)?, platform) {
        pinned.extend(disk.pin_image(&record.name, &record.platform).await?);
    }
    if pinned.is_empty() {
        let image = match image {
            Some(image) => image,
            None => image.insert(resolve(stack, location, platform).await?),
        };
        let record = record(location, image)?.with_pinned(true);
        disk.record_image(record.clone()).await?;
        pinned.push(record);
    }
    Ok(pinned)
}

/// Lets the layers of images be evicted as others are. Asks no registry: the records tell what is
/// pinned.
///
/// Tells [`Directory`](Event::Directory) and [`Pinned`](Event::Pinned) for each record that was
/// pinned.
///
/// # Errors
/// [`NoDisk`](OpsError::NoDisk), and the error of the first directory that cannot be read or
/// written.
///
/// # Cancellation
/// Dropping the future begins nothing more; a record that is being written is written.
pub async fn unpin(
    stack: &Stack,
    images: &[ImageLocation],
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<UnpinReport, OpsError> {
    let disks = disks(stack).await?;
    let (mut unpinned, mut not_pinned) = (Vec::new(), Vec::new());
    for location in images {
        let name = image_name(location)?;
        let before = unpinned.len();
        for disk in &disks {
            let at = || disk.dir().display();
            let records = disk.images().await.at(at)?;
            for record in records_of(&records, &name, platform) {
                if !disk.unpin_image(&record.name, &record.platform).await.at(at)? {
                    continue;
                }
                progress.tell(Event::Directory(disk.dir()));
                let report = PinReport::unpinned(disk, record);
                progress.tell(Event::Pinned(&report));
                unpinned.push(report);
            }
        }
        if unpinned.len() == before {
            not_pinned.push(name);
        }
    }
    Ok(UnpinReport {
        images: unpinned,
        not_pinned,
    })
}

impl PinReport {
    fn pinned(disk: &DiskTier, record: ImageRecord, cached: &BTreeSet<Digest>) -> Self {
        // An image may have a layer twice.
        let mut seen = BTreeSet::new();
        let layers = record.layers.iter().copied();
        let layers: Vec<_> = layers.filter(|digest| seen.insert(*digest)).collect();
        let missing = layers.iter().copied();
        let missing = missing.filter(|digest| !cached.contains(digest)).collect();
        Self {
            pinned: true,
            layers: Some(layers.len()),
            missing: Some(missing),
            ..Self::unpinned(disk, &record)
        }
    }

    fn unpinned(disk: &DiskTier, record: &ImageRecord) -> Self {
        Self {
            tier: disk.name().to_owned(),
            dir: disk.dir().to_owned(),
            image: record.name.clone(),
            platform: record.platform.clone(),
            pinned: false,
            layers: None,
            missing: None,
        }
    }
}

impl UnpinReport {
    /// Returns the error that names the images that were pinned nowhere, if there are any.
    pub fn failure(&self) -> Option<OpsError> {
        (!self.not_pinned.is_empty()).then(|| OpsError::NotPinned(self.not_pinned.clone()))
    }
}

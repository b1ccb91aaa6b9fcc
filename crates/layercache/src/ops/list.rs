//! `list`: the layers of the cache directories.

use std::cmp::Reverse;
use std::path::PathBuf;

use cache_core::{Digest, LayerSource, LayerStat, Tier};
use cache_disk::DiskTier;
use futures_util::TryStreamExt;
use serde::Serialize;

use super::disks::disks;
use super::error::{OpsError, Place};
use super::progress::{Event, Progress};
use super::text::{seconds, text};
use crate::Stack;

/// The layers of one cache directory.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ListReport {
    /// Name of the tier.
    pub tier: String,
    /// The directory.
    pub dir: PathBuf,
    /// The layers, the most recently used first.
    pub layers: Vec<ListedLayer>,
}

/// A layer in a cache directory.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ListedLayer {
    /// Digest of the layer.
    #[serde(serialize_with = "text")]
    pub digest: Digest,
    /// Bytes of the layer alone, without its companions.
    pub bytes: u64,
    /// Time of its last use in seconds since 1970.
    pub last_used: Option<u64>,
}

/// Lists the layers of each cache directory.
///
/// Tells [`Directory`](Event::Directory) and [`Listed`](Event::Listed) for each.
///
/// # Errors
/// [`NoDisk`](OpsError::NoDisk), and the error of the first directory that cannot be read.
///
/// # Cancellation
/// Dropping the future leaves nothing behind.
pub async fn list(stack: &Stack, progress: &dyn Progress) -> Result<Vec<ListReport>, OpsError> {
    let mut reports = Vec::new();
    for disk in disks(stack).await? {
        progress.tell(Event::Directory(disk.dir()));
        let layers = layers(disk).await.at(|| disk.dir().display())?;
        let layers = layers.into_iter().map(|layer| ListedLayer {
            digest: layer.digest,
            bytes: layer.len,
            last_used: layer.last_used.and_then(seconds),
        });
        let report = ListReport {
            tier: disk.name().to_owned(),
            dir: disk.dir().to_owned(),
            layers: layers.collect(),
        };
        progress.tell(Event::Listed(&report));
        reports.push(report);
    }
    Ok(reports)
}

/// Returns the layers of a directory, the most recently used first.
pub(super) async fn layers(disk: &DiskTier) -> cache_core::Result<Vec<LayerStat>> {
    let mut layers: Vec<LayerStat> = disk.list().try_collect().await?;
    layers.sort_by_key(|layer| (Reverse(layer.last_used), layer.digest));
    Ok(layers)
}

//! `explain`: tells which tier would serve each layer of an image, and why, without fetching or
//! changing anything.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cache_core::{Copying, Digest, Error};
use image_tree::{Entry, Follow};
use registry::{ImageLocation, Platform};
use serde::Serialize;

use super::error::{OpsError, Place};
use super::images::resolve;
use super::text::{copying, error_or_null, text};
use crate::{Asked, Explanation, Finding, KnownTree, Reading, Stack};

/// The layers of an image, and the file that was asked for.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExplainReport {
    /// The image as it was asked for.
    pub image: String,
    /// The layers, the base first.
    pub layers: Vec<ExplainedLayer>,
    /// The file; `None` where none was asked for.
    pub file: Option<ExplainedFile>,
}

/// A layer, and what opening it would do.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExplainedLayer {
    /// Digest of the layer.
    #[serde(serialize_with = "text")]
    pub digest: Digest,
    /// Bytes of its blob, compressed.
    pub size: Option<u64>,
    /// The sources that would be asked for it, in order, up to the one that serves it.
    pub sources: Vec<ExplainedSource>,
    /// Name of the source that serves it; `None` where no source does.
    pub served_by: Option<String>,
    /// Bytes of the layer, decompressed, where they are known before it is inflated.
    pub bytes: Option<u64>,
    /// The way it is read until the copies are there; `None` where no source serves it.
    pub reading: Option<ExplainedReading>,
    /// Bytes that are moved at once for any part of them; `None` unless it is read in place.
    pub unit: Option<u64>,
    /// The tiers that get a copy, the nearest first.
    pub copies: Vec<ExplainedCopy>,
    /// Name of the tier whose lease on the layer is asked for first.
    pub lease: Option<String>,
}

/// A source, and what it has of a layer.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExplainedSource {
    /// Name of the source.
    pub name: String,
    /// Kind of the source in the configuration.
    pub kind: String,
    /// The state of the layer there.
    pub finding: ExplainedFinding,
    /// Tells if it is a tier that layers from behind are copied to.
    pub takes_layers: bool,
    /// The reason why it has failed, or takes no copy.
    #[serde(serialize_with = "error_or_null")]
    pub error: Option<Error>,
}

/// The state of a layer at a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExplainedFinding {
    /// The source has the layer.
    Present,
    /// The source has a file for it without an index, and hashes that before it serves it.
    Unverified,
    /// The source lacks the layer.
    Absent,
    /// The source lacks the layer, and would not take a copy.
    Refused,
    /// The source is passed over.
    Failed,
    /// The source is an origin, which would be asked.
    #[serde(rename = "not asked")]
    NotAsked,
}

/// The way a layer is read until copies of it are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExplainedReading {
    /// It is read where it is.
    #[serde(rename = "in place")]
    InPlace,
    /// It is copied in full first.
    Copied,
    /// Its blob is fetched and inflated first.
    Inflated,
}

/// A tier that gets a copy of a layer.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExplainedCopy {
    /// Name of the tier.
    pub tier: String,
    /// The time of the copy: before the layer is read, or in the background.
    #[serde(serialize_with = "copying")]
    pub when: Copying,
}

/// A file of an image, as far as it can be looked up.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum ExplainedFile {
    /// The image has the file.
    Found(FoundFile),
    /// The trees of some layers are not known.
    Unknown(UnknownFile),
}

/// A file of an image, and the cost of reading all of it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FoundFile {
    /// Tells that the file could be looked up.
    pub known: bool,
    /// Number of the layer that has the file, from 0, the base.
    pub layer: usize,
    /// Name of the source that serves the layer.
    pub served_by: Option<String>,
    /// Offset of its bytes in the layer; `None` unless they are in one place.
    pub offset: Option<u64>,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Bytes of the layer that a read of the file asks for.
    pub asked_bytes: u64,
    /// Bytes that are moved for these; `None` where that is not known.
    pub moved_bytes: Option<u64>,
    /// `moved_bytes` / `asked_bytes`; `None` where one of them is unknown, or nothing is asked for.
    pub ratio: Option<f64>,
}

/// A file that could not be looked up.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct UnknownFile {
    /// Tells that the file could not be looked up.
    pub known: bool,
    /// Numbers of the layers whose trees are not known.
    pub unknown_layers: Vec<usize>,
}

/// Tells which source would serve each layer of an image, and what a read of the file at `path`
/// would move.
///
/// Nothing is fetched, copied or removed; [`Stack::explain`] says what it leaves behind all the
/// same. If no tree of a layer is kept, the headers of the layer are read from a tier that has it;
/// an origin is not asked for that.
///
/// # Errors
/// Those of [`resolve`], [`NoSuchFile`](OpsError::NoSuchFile),
/// [`IsDirectory`](OpsError::IsDirectory), and those of [`Stack::known_tree`].
///
/// # Cancellation
/// Dropping the future cancels the requests and leaves nothing behind.
pub async fn explain(
    stack: &Stack,
    location: &ImageLocation,
    path: Option<&Path>,
    platform: Option<&Platform>,
) -> Result<ExplainReport, OpsError> {
    let image = resolve(stack, location, platform).await?;
    let layers = stack.explain_all(&image.layers).await;
    let file = match path {
        Some(path) => {
            let found = explain_file(stack, path, &layers).await;
            Some(found.at(|| format!("{} in {location}", path.display()))?)
        }
        None => None,
    };
    Ok(ExplainReport {
        image: location.to_string(),
        layers: layers.into_iter().map(ExplainedLayer::new).collect(),
        file,
    })
}

async fn explain_file(stack: &Stack, path: &Path, layers: &[Explanation]) -> Result<ExplainedFile, OpsError> {
    let tree = match stack.known_tree(layers).await? {
        KnownTree::Whole(tree) => tree,
        KnownTree::Unknown(unknown_layers) => {
            let known = false;
            return Ok(ExplainedFile::Unknown(UnknownFile {
                known,
                unknown_layers,
            }));
        }
    };
    let node = tree.resolve(path.as_os_str().as_bytes(), Follow::All)?;
    let node = node.ok_or(OpsError::NoSuchFile)?;
    if node.entry().is_dir() {
        return Err(OpsError::IsDirectory);
    }
    let layer = node.layer();
    Ok(ExplainedFile::Found(FoundFile::new(
        layer,
        node.entry(),
        &layers[layer],
    )))
}

impl FoundFile {
    fn new(layer: usize, entry: &Entry, explanation: &Explanation) -> Self {
        let extents = entry.file().map_or(&[][..], |file| file.extents());
        let ranges = extents
            .iter()
            .map(|extent| extent.offset..extent.offset + extent.len);
        let cost = explanation.read_cost(ranges);
        Self {
            known: true,
            layer,
            served_by: explanation.plan.as_ref().map(|plan| plan.source.clone()),
            offset: match extents {
                [extent] if extent.len > 0 => Some(extent.offset),
                _ => None,
            },
            bytes: entry.size(),
            asked_bytes: cost.asked,
            moved_bytes: cost.moved,
            ratio: cost.ratio(),
        }
    }
}

impl ExplainedLayer {
    fn new(explanation: Explanation) -> Self {
        let explained = Self {
            digest: explanation.layer.digest,
            size: explanation.layer.size,
            sources: explanation.asked.into_iter().map(ExplainedSource::new).collect(),
            served_by: None,
            bytes: None,
            reading: None,
            unit: None,
            copies: Vec::new(),
            lease: None,
        };
        let Some(plan) = explanation.plan else {
            return explained;
        };
        let (reading, unit) = match plan.reading {
            Reading::InPlace(unit) => (ExplainedReading::InPlace, Some(unit.get())),
            Reading::Copied => (ExplainedReading::Copied, None),
            Reading::Inflated => (ExplainedReading::Inflated, None),
        };
        let copies = plan.copies.into_iter().map(|copy| ExplainedCopy {
            tier: copy.tier,
            when: copy.when,
        });
        Self {
            served_by: Some(plan.source),
            bytes: plan.len,
            reading: Some(reading),
            unit,
            copies: copies.collect(),
            lease: plan.lease,
            ..explained
        }
    }
}

impl ExplainedSource {
    fn new(asked: Asked) -> Self {
        let (finding, error) = match asked.finding {
            Finding::Present => (ExplainedFinding::Present, None),
            Finding::Unverified => (ExplainedFinding::Unverified, None),
            Finding::Absent => (ExplainedFinding::Absent, None),
            Finding::Refused(error) => (ExplainedFinding::Refused, Some(error)),
            Finding::Failed(error) => (ExplainedFinding::Failed, Some(error)),
            Finding::NotAsked => (ExplainedFinding::NotAsked, None),
        };
        Self {
            name: asked.name,
            kind: asked.kind,
            finding,
            takes_layers: asked.takes_layers,
            error,
        }
    }
}

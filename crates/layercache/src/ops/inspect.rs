//! `inspect`: what an image consists of.

use std::collections::BTreeMap;

use cache_core::{Digest, Error};
use registry::{ImageLocation, Platform};
use serde::Serialize;
use serde_json::Value;

use super::error::OpsError;
use super::images::resolve;
use super::text::{text, text_or_null};
use crate::Stack;

/// An image.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct InspectReport {
    /// The image as it was asked for.
    pub image: String,
    /// The repository, layout or archive that its layers are asked for at.
    pub repository: String,
    /// Digest of the manifest; `None` where the image has none.
    #[serde(serialize_with = "text_or_null")]
    pub digest: Option<Digest>,
    /// Media type of the manifest.
    pub media_type: Option<String>,
    /// The platform that its config names.
    pub platform: String,
    /// Digest of the config, which is its image ID for Docker.
    #[serde(serialize_with = "text")]
    pub config_digest: Digest,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// The layers, the base first.
    pub layers: Vec<InspectedLayer>,
    /// The config as the image has it.
    pub config: Value,
}

/// A layer of an image.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct InspectedLayer {
    /// Digest of the layer.
    #[serde(serialize_with = "text")]
    pub digest: Digest,
    /// Bytes of its blob, compressed.
    pub size: Option<u64>,
    /// Digest of the layer, decompressed.
    #[serde(serialize_with = "text_or_null")]
    pub diff_id: Option<Digest>,
}

/// Looks up what an image consists of.
///
/// # Errors
/// Those of [`resolve`], and [`Corrupt`](cache_core::ErrorKind::Corrupt) when the config is not
/// JSON.
///
/// # Cancellation
/// Dropping the future cancels the requests and leaves nothing behind.
pub async fn inspect(
    stack: &Stack,
    location: &ImageLocation,
    platform: Option<&Platform>,
) -> Result<InspectReport, OpsError> {
    let image = resolve(stack, location, platform).await?;
    let config = serde_json::from_slice(&image.config)
        .map_err(|error| Error::corrupt("the config of the image is not JSON").caused_by(error))?;
    let layers = image.layers.iter().map(|layer| InspectedLayer {
        digest: layer.digest,
        size: layer.size,
        diff_id: layer.diff_id,
    });
    Ok(InspectReport {
        image: location.to_string(),
        repository: image.repository.to_string(),
        digest: image.manifest_digest,
        media_type: image.media_type,
        platform: image.platform.to_string(),
        config_digest: image.config_digest,
        annotations: image.annotations,
        layers: layers.collect(),
        config,
    })
}

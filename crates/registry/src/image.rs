//! One image for one platform: what resolving finds.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cache_core::{Digest, Error, LayerDescriptor, Result};

use crate::Platform;
use crate::excerpt::excerpt;
use crate::manifest::{Config, Manifest};
use crate::media_type;

/// Most layers of an image. Docker stops at 127; each costs memory in every index built over them.
pub(crate) const MAX_LAYERS: usize = 1024;

/// An image whose manifest and config were fetched and verified against their digests. Its layers were not touched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Image {
    /// Where it was found, as its layers' descriptors repeat it: `docker.io/library/debian`, `oci:/srv/image`.
    pub repository: Arc<str>,
    /// Digest of the manifest for [`platform`](Self::platform), not of an index. A `docker-archive` has no manifest.
    pub manifest_digest: Option<Digest>,
    /// Media type of that manifest.
    pub media_type: Option<String>,
    /// The platform that the config names. For an image without an index this may not be the one asked for.
    pub platform: Platform,
    /// Digest of the config: what Docker shows as the image ID.
    pub config_digest: Digest,
    /// The config as it was stored, JSON of at most 8 MiB.
    pub config: Bytes,
    /// The layers, the base first, each with repository, size and diff ID.
    pub layers: Vec<LayerDescriptor>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

impl Image {
    /// Puts together what `manifest` and `config`, both verified by the caller, say.
    pub(crate) fn assemble(
        repository: Arc<str>,
        (manifest_digest, media_type): (Digest, String),
        manifest: Manifest,
        config: Bytes,
    ) -> Result<Self> {
        let config_type = &manifest.config.media_type;
        if !media_type::is_image_config(config_type) {
            return Err(not_an_image(&format!(
                "its config has the type `{}`",
                excerpt(config_type)
            )));
        }
        let parsed = Config::parse(&config)?;
        let diff_ids = parsed
            .diff_ids()
            .ok_or_else(|| not_an_image("its config has no rootfs"))?;
        check_layer_counts(manifest.layers.len(), diff_ids.len())?;
        let mut layers = Vec::with_capacity(manifest.layers.len());
        for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
            if media_type::is_encrypted(&layer.media_type) {
                return Err(Error::permanent(format!(
                    "layer {} is encrypted, which is unsupported: decrypt the image first",
                    layer.digest
                )));
            }
            if !media_type::is_layer(&layer.media_type) {
                let kind = excerpt(&layer.media_type);
                return Err(not_an_image(&format!(
                    "layer {} has the type `{kind}`",
                    layer.digest
                )));
            }
            let layer = LayerDescriptor::new(layer.digest)
                .with_size(layer.size)
                .with_diff_id(diff_id);
            layers.push(layer.with_repository(Arc::clone(&repository)));
        }
        Ok(Self {
            repository,
            manifest_digest: Some(manifest_digest),
            media_type: Some(media_type),
            platform: parsed.platform(),
            config_digest: manifest.config.digest,
            config,
            layers,
            annotations: manifest.annotations,
        })
    }
}

/// Each layer needs its diff ID, and their number is bounded.
pub(crate) fn check_layer_counts(layers: usize, diff_ids: usize) -> Result<()> {
    if layers > MAX_LAYERS {
        return Err(Error::permanent(format!(
            "the image has {layers} layers, more than {MAX_LAYERS}"
        )));
    }
    if layers != diff_ids {
        return Err(Error::corrupt(format!(
            "the manifest names another number of layers ({layers}) than the config diff IDs ({diff_ids}): push the image again"
        )));
    }
    Ok(())
}

fn not_an_image(why: &str) -> Error {
    Error::permanent(format!("not a container image: {why}"))
}

//! Small images, and a well-behaved answer to every request for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use cache_core::inflate::Inflater;
use cache_core::{Digest, LayerDescriptor, LayerReader, LayerSource, Result};
use futures_util::TryStreamExt;
use registry::{Anonymous, CredentialProvider, Image, ImageSource, Platform, RegistryConfig, RegistryOrigin};
use serde_json::{Value, json};

use crate::server::{Seen, Server, status, with};

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Content by digest and by tag.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
    /// Manifests and indexes with their media types, by tag or digest.
    pub(crate) manifests: BTreeMap<String, (String, Vec<u8>)>,
}

impl Content {
    pub(crate) fn blob(&mut self, bytes: &[u8], media_type: &str) -> Value {
        let digest = Digest::sha256_of(bytes);
        self.blobs.insert(digest, bytes.to_vec());
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    }

    pub(crate) fn document(&mut self, document: &Value, media_type: &str) -> Value {
        let bytes = document.to_string().into_bytes();
        let digest = Digest::sha256_of(&bytes);
        let descriptor =
            json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() });
        self.manifests
            .insert(digest.to_string(), (media_type.to_owned(), bytes));
        descriptor
    }

    /// The descriptor of a manifest of an image with these layers.
    pub(crate) fn image(&mut self, platform: &str, layers: &[&[u8]]) -> Value {
        let platform: Platform = platform.parse().unwrap();
        let diff_ids: Vec<_> = layers
            .iter()
            .map(|layer| Digest::sha256_of(layer).to_string())
            .collect();
        let config = json!({
            "os": platform.os(), "architecture": platform.architecture(),
            "variant": platform.variant().unwrap_or_default(),
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = self.blob(
            config.to_string().as_bytes(),
            "application/vnd.oci.image.config.v1+json",
        );
        let layer_type = "application/vnd.oci.image.layer.v1.tar";
        let layers: Vec<_> = layers.iter().map(|layer| self.blob(layer, layer_type)).collect();
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers });
        self.document(&manifest, OCI_MANIFEST)
    }

    /// The descriptor of an index of these manifests.
    pub(crate) fn index(&mut self, manifests: &[Value]) -> Value {
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
        self.document(&index, OCI_INDEX)
    }

    pub(crate) fn tag(&mut self, tag: &str, descriptor: &Value) {
        let document = self.manifests[descriptor["digest"].as_str().unwrap()].clone();
        self.manifests.insert(tag.to_owned(), document);
    }

    /// What a registry answers, ranges included; 404 for what is not there.
    pub(crate) fn answer(&self, request: &Seen) -> Response {
        let name = request.path.rsplit('/').next().unwrap();
        if request.path.contains("/manifests/") {
            return match self.manifests.get(name) {
                Some((media_type, bytes)) => with(200, &[("content-type", media_type)], bytes.clone()),
                None => status(404),
            };
        }
        match name.parse().ok().and_then(|digest| self.blobs.get(&digest)) {
            Some(blob) => ranged(request, blob),
            None => status(404),
        }
    }
}

/// The blob, or the range of it that was asked for.
pub(crate) fn ranged(request: &Seen, blob: &[u8]) -> Response {
    let Some(range) = request.range() else {
        return with(200, &[], blob.to_vec());
    };
    let (start, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
    let content_range = format!("bytes {start}-{end}/{}", blob.len());
    with(
        206,
        &[("content-range", &content_range)],
        blob[start..=end].to_vec(),
    )
}

/// An image of one layer, tagged `latest`, and that layer.
pub(crate) fn one_layer() -> (Content, Vec<u8>) {
    let layer: Vec<u8> = (0..100_000u32)
        .map(|i| (i.wrapping_mul(i) / 7) as u8 ^ 0x55)
        .collect();
    let mut content = Content::default();
    let image = content.image("linux/amd64", &[&layer]);
    content.tag("latest", &image);
    (content, layer)
}

/// Waits that make no test wait, and would make none fail on a slow machine.
pub(crate) fn config() -> RegistryConfig {
    let mut config = RegistryConfig::default();
    config.backoff = Duration::from_millis(1);
    config.max_retry_after = Duration::from_millis(1);
    config
}

pub(crate) fn origin_with(
    config: RegistryConfig,
    credentials: Arc<dyn CredentialProvider>,
) -> RegistryOrigin {
    RegistryOrigin::new(config, credentials, Inflater::default()).unwrap()
}

pub(crate) fn origin() -> RegistryOrigin {
    origin_with(config(), Arc::new(Anonymous))
}

pub(crate) fn amd64() -> Platform {
    Platform::new("linux", "amd64", "")
}

/// Resolves `latest` of the repository `team/app`.
pub(crate) async fn resolve(origin: &RegistryOrigin, server: &Server) -> Result<Image> {
    resolve_for(origin, server, "linux/amd64").await
}

pub(crate) async fn resolve_for(origin: &RegistryOrigin, server: &Server, platform: &str) -> Result<Image> {
    let location = format!("{}/team/app", server.host).parse().unwrap();
    origin.resolve(&location, &platform.parse().unwrap()).await
}

/// The descriptor of a layer of `team/app` at the server.
pub(crate) fn layer_at(server: &Server, bytes: &[u8]) -> LayerDescriptor {
    LayerDescriptor::new(Digest::sha256_of(bytes))
        .with_size(bytes.len() as u64)
        .with_repository(format!("{}/team/app", server.host))
}

pub(crate) async fn read(source: &dyn LayerSource, layer: &LayerDescriptor) -> Result<Vec<u8>> {
    let reader: Arc<dyn LayerReader> = source.open(layer).await?.expect("the layer is there");
    let pieces: Vec<_> = reader.stream(0).try_collect().await?;
    Ok(pieces.concat())
}

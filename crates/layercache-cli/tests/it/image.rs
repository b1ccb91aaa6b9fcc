//! Images made by hand, honest or not, as a layout or for a registry of [`registry`](crate::registry).

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use layercache::core::Digest;
use layercache::registry::Platform;
use serde_json::{Value, json};

pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image of this machine's platform: what is served of it, under which name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    /// Blobs by the digest they are asked for with; a hostile image has others there.
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// Descriptors of the layers, the base first.
    pub(crate) layers: Vec<Value>,
    pub(crate) diff_ids: Vec<String>,
}

impl Image {
    /// An image of one gzip layer with these files.
    pub(crate) fn of_files(files: &[(&str, &[u8])]) -> Self {
        let mut image = Self::default();
        image.add_tar(&tar(files));
        image
    }

    /// Adds a layer, and tells the truth about it.
    pub(crate) fn add_tar(&mut self, tar: &[u8]) {
        self.add_layer(&gzip(tar), &Digest::sha256_of(tar));
    }

    /// Adds a layer whose blob is `blob`, and which the config says has this diff ID.
    pub(crate) fn add_layer(&mut self, blob: &[u8], diff_id: &Digest) {
        let descriptor = self.add_blob(blob, "application/vnd.oci.image.layer.v1.tar+gzip");
        self.layers.push(descriptor);
        self.diff_ids.push(diff_id.to_string());
    }

    /// The digest of a layer.
    pub(crate) fn digest(&self, layer: usize) -> &str {
        self.layers[layer]["digest"].as_str().unwrap()
    }

    fn add_blob(&mut self, blob: &[u8], media_type: &str) -> Value {
        let digest = Digest::sha256_of(blob).to_string();
        let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": blob.len() });
        self.blobs.insert(digest, blob.to_vec());
        descriptor
    }

    /// Adds the config, and returns the manifest.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let platform = Platform::host();
        let config = json!({
            "os": platform.os(), "architecture": platform.architecture(),
            "rootfs": { "type": "layers", "diff_ids": self.diff_ids },
        });
        let config = self.add_blob(
            config.to_string().as_bytes(),
            "application/vnd.oci.image.config.v1+json",
        );
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": self.layers,
        });
        manifest.to_string().into_bytes()
    }

    /// Writes it as the only image of a layout, and returns how it is called.
    pub(crate) fn write_layout(mut self, dir: &Path) -> String {
        let manifest = self.finish();
        let descriptor = self.add_blob(&manifest, MANIFEST_TYPE);
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
        for (digest, blob) in &self.blobs {
            std::fs::write(blobs.join(digest.strip_prefix("sha256:").unwrap()), blob).unwrap();
        }
        format!("oci:{}", dir.display())
    }
}

/// A tar of regular files.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *contents).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress, the same each time.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(len as u64).fill(&mut bytes);
    bytes
}

//! An OCI image layout being written: blobs, and tags in `index.json`.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an image index.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Media type of an image's config.
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a layer that is not compressed.
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An OCI image layout. Every tag is on disk as soon as it is given.
#[derive(Debug)]
pub(crate) struct Layout {
    directory: PathBuf,
    tags: RefCell<Vec<Value>>,
}

impl Layout {
    pub(crate) fn create(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory.join("blobs/sha256"))?;
        fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(Self {
            directory: directory.to_owned(),
            tags: RefCell::default(),
        })
    }

    /// Adds the file at `path`, which must not change any more, and returns its descriptor.
    pub(crate) fn add_file(&self, media_type: &str, path: &Path) -> Result<Value> {
        let (hex, size) = hash_file(path)?;
        let blob = self.directory.join("blobs/sha256").join(&hex);
        if !blob.exists() {
            fs::hard_link(path, blob)?;
        }
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": size }))
    }

    /// Adds a document and returns its descriptor.
    pub(crate) fn add_json(&self, media_type: &str, document: &Value) -> Result<Value> {
        let bytes = serde_json::to_vec(document)?;
        let hex = hex::encode(Sha256::digest(&bytes));
        fs::write(self.directory.join("blobs/sha256").join(&hex), &bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() }))
    }

    /// Adds the manifest of an image and returns its descriptor.
    pub(crate) fn add_manifest(&self, config: &Value, layers: &[Value]) -> Result<Value> {
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        self.add_json(MANIFEST, &manifest)
    }

    /// Gives the manifest or index of `descriptor` a name.
    pub(crate) fn tag(&self, descriptor: &Value, name: &str) -> Result<()> {
        let mut descriptor = descriptor.clone();
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        self.tags.borrow_mut().push(descriptor);
        let index = json!({ "schemaVersion": 2, "manifests": *self.tags.borrow() });
        Ok(fs::write(
            self.directory.join("index.json"),
            serde_json::to_vec_pretty(&index)?,
        )?)
    }
}

/// An image in the layout `directory` that umoci wrote: its manifest, and where its blobs are.
pub(crate) fn read_tag(directory: &Path, tag: &str) -> Result<Value> {
    let index: Value = serde_json::from_slice(&fs::read(directory.join("index.json"))?)?;
    let manifests = index["manifests"]
        .as_array()
        .context("the layout has no manifests")?;
    let descriptor = manifests
        .iter()
        .find(|manifest| manifest["annotations"]["org.opencontainers.image.ref.name"] == tag)
        .with_context(|| format!("no tag {tag} in {}", directory.display()))?;
    Ok(serde_json::from_slice(&fs::read(blob_path(
        directory, descriptor,
    )?)?)?)
}

/// The file of a descriptor's blob.
pub(crate) fn blob_path(directory: &Path, descriptor: &Value) -> Result<PathBuf> {
    let digest = descriptor["digest"]
        .as_str()
        .context("a descriptor has no digest")?;
    let hex = digest.strip_prefix("sha256:").context("a digest is not sha256")?;
    Ok(directory.join("blobs/sha256").join(hex))
}

/// Returns the SHA-256 in hex and the length of a file.
pub(crate) fn hash_file(path: &Path) -> Result<(String, u64)> {
    hash(File::open(path).with_context(|| format!("cannot open {}", path.display()))?)
}

/// Returns the SHA-256 in hex and the length of what is read.
pub(crate) fn hash(mut reader: impl Read) -> Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok((hex::encode(hasher.finalize()), size));
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}

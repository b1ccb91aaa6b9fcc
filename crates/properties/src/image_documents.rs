//! The JSON documents of an image: index, manifest and config.

use std::fs;
use std::path::Path;

use cache_core::Digest;
use cache_core::inflate::Inflater;
use registry::{Image, ImageLocation, ImageSource, LayoutOrigin, Platform};
use serde_json::Value;
use tempfile::TempDir;

use crate::message::assert_harmless;
use crate::runtime::block_on;

const SEPARATOR: &str = "\n---\n";
const MAX_DOCUMENTS: usize = 9;
/// As the origin limits it.
const MAX_LAYERS: usize = 1024;

/// Resolving never panics, and what is accepted is consistent: the layers are those of the manifest, each with the diff ID that
/// the config has in its place, and every document has the digest it was asked for by.
///
/// The bytes are documents separated by a line `---`, the first of which is the `index.json` of a layout. In each, `@N` stands
/// for the digest of the one number N further on, counted from 1, and `"#N"` for its length.
pub fn image_documents(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let texts: Vec<&str> = text.splitn(MAX_DOCUMENTS, SEPARATOR).collect();
    let documents = linked(&texts);
    let layout = layout(&documents).expect("a layout in a temporary directory");
    let location = ImageLocation::OciLayout {
        path: layout.path().to_owned(),
        tag: None,
    };
    let origin = LayoutOrigin::directory(Inflater::default());
    let platform = Platform::new("linux", "amd64", "");
    match block_on(origin.resolve(&location, &platform)) {
        Ok(image) => assert_consistent(&image, &documents),
        Err(error) => assert_harmless(&error.to_string()),
    }
}

/// The documents with digests and lengths in place of what stands for them.
fn linked(texts: &[&str]) -> Vec<String> {
    let mut documents: Vec<String> = Vec::new();
    // From the last to the first, since a digest covers the digests below it.
    for text in texts.iter().rev() {
        let mut text = (*text).to_owned();
        for (n, document) in documents.iter().rev().enumerate() {
            let digest = Digest::sha256_of(document.as_bytes());
            text = text.replace(&format!("@{}", n + 1), &digest.to_string());
            text = text.replace(&format!("\"#{}\"", n + 1), &document.len().to_string());
        }
        documents.push(text);
    }
    documents.reverse();
    documents
}

fn layout(documents: &[String]) -> std::io::Result<TempDir> {
    let shared_memory = Path::new("/dev/shm");
    let dir = if shared_memory.is_dir() {
        tempfile::tempdir_in(shared_memory)?
    } else {
        tempfile::tempdir()?
    };
    let blobs = dir.path().join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let (index, below) = documents
        .split_first()
        .expect("splitting gives one document at least");
    fs::write(dir.path().join("index.json"), index)?;
    for document in below {
        fs::write(blobs.join(Digest::sha256_of(document.as_bytes()).hex()), document)?;
    }
    Ok(dir)
}

/// The image says what its documents say, read without any of the types that the origin reads them with.
fn assert_consistent(image: &Image, documents: &[String]) {
    assert!(image.layers.len() <= MAX_LAYERS);
    let find = |digest: &Digest| -> Value {
        let mut found = documents
            .iter()
            .filter(|document| Digest::sha256_of(document.as_bytes()) == *digest);
        let document = found.next().expect("a document of the layout");
        serde_json::from_str(document).expect("what was accepted is JSON")
    };
    let manifest = find(&image.manifest_digest.expect("a layout's image has a manifest"));
    let config = find(&image.config_digest);
    assert_eq!(Digest::sha256_of(&image.config), image.config_digest);
    assert_eq!(
        text(&manifest["config"]["digest"]),
        image.config_digest.to_string()
    );
    let layers = list(&manifest["layers"]);
    let diff_ids = list(&config["rootfs"]["diff_ids"]);
    assert_eq!(
        (layers.len(), diff_ids.len()),
        (image.layers.len(), image.layers.len())
    );
    for ((layer, theirs), diff_id) in image.layers.iter().zip(layers).zip(diff_ids) {
        assert_eq!(layer.digest.to_string(), text(&theirs["digest"]));
        assert_eq!(layer.size, theirs["size"].as_u64());
        assert_eq!(
            layer.diff_id.map(|id| id.to_string()).as_deref(),
            Some(text(diff_id))
        );
        assert_eq!(layer.repository.as_deref(), Some(&*image.repository));
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Go writes an empty list as `null`.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

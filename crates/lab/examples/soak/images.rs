//! Random images, whose every byte is known without being kept.

use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use layercache::core::{Digest, LayerDescriptor};
use serde_json::json;

const LAYERS: u64 = 24;
const MAX_LEN: u64 = 6 << 20;
/// Each block follows from the seed and its number alone.
const BLOCK: usize = 64 << 10;

/// A layer, and what its bytes are.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) descriptor: LayerDescriptor,
    pub(crate) len: u64,
    seed: u64,
}

impl Layer {
    /// The bytes from `offset` on, `len` at most.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> Vec<u8> {
        let end = self.len.min(offset.saturating_add(len as u64));
        let mut bytes = Vec::new();
        let mut at = offset;
        while at < end {
            let block = block(self.seed, at / BLOCK as u64);
            let start = (at % BLOCK as u64) as usize;
            let take = (BLOCK - start).min((end - at) as usize);
            bytes.extend_from_slice(&block[start..start + take]);
            at += take as u64;
        }
        bytes
    }
}

fn block(seed: u64, number: u64) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(31).wrapping_add(number));
    // A part of it compresses, as in real layers.
    random.fill(&mut block[..BLOCK / 4]);
    block
}

/// Layers in OCI layouts, one image each.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) layers: Vec<Layer>,
}

impl Images {
    pub(crate) fn create(root: &Path, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let layers = (0..LAYERS).map(|number| {
            let len = random.u64(1..MAX_LEN);
            create(&root.join(format!("image-{number}")), seed ^ (number << 32), len)
        });
        Self {
            layers: layers.collect(),
        }
    }
}

fn create(dir: &Path, seed: u64, len: u64) -> Layer {
    let mut layer = Layer {
        descriptor: LayerDescriptor::new(Digest::sha256_of(b"")),
        len,
        seed,
    };
    let tar = layer.bytes(0, usize::MAX);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&tar).unwrap();
    let blob = encoder.finish().unwrap();
    let digest = Digest::sha256_of(&blob);
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(digest.hex()), &blob).unwrap();
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = json!({ "schemaVersion": 2, "manifests": [] });
    std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
    layer.descriptor = LayerDescriptor::new(digest)
        .with_size(blob.len() as u64)
        .with_diff_id(Digest::sha256_of(&tar))
        .with_repository(format!("oci:{}", dir.display()));
    layer
}

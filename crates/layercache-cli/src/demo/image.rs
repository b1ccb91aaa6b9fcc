//! An image as a registry would have it: three gzip layers of text-like files.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use layercache::core::digest::DigestHasher;
use layercache::core::{Algorithm, Digest};
use layercache::registry::Platform;
use serde_json::json;

pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The layers: where their files are, how many, and the mean length of one in bytes.
const LAYERS: [(&str, usize, usize); 3] = [
    ("usr/lib", 1500, 40_000),
    ("usr/lib/python3", 2500, 24_000),
    ("srv/app", 300, 20_000),
];

/// A built image: blobs in a directory, named by their digests.
pub(super) struct DemoImage {
    pub(super) blobs: PathBuf,
    pub(super) manifest: Vec<u8>,
}

pub(super) fn build(blobs: &Path, platform: &Platform) -> Result<DemoImage> {
    std::fs::create_dir_all(blobs)?;
    let mut random = fastrand::Rng::with_seed(1);
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    for (dir, files, mean) in LAYERS {
        let layer = Layer::build(blobs, dir, files, mean, &mut random)?;
        diff_ids.push(layer.diff_id.to_string());
        layers.push(json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": layer.digest.to_string(),
            "size": layer.size,
        }));
    }
    let config = serde_json::to_vec(&json!({
        "os": platform.os(),
        "architecture": platform.architecture(),
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    }))?;
    let digest = Digest::sha256_of(&config);
    std::fs::write(blobs.join(digest.to_string()), &config)?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest.to_string(),
            "size": config.len(),
        },
        "layers": layers,
    }))?;
    Ok(DemoImage {
        blobs: blobs.to_owned(),
        manifest,
    })
}

struct Layer {
    digest: Digest,
    size: u64,
    diff_id: Digest,
}

impl Layer {
    fn build(blobs: &Path, dir: &str, files: usize, mean: usize, random: &mut fastrand::Rng) -> Result<Self> {
        let part = blobs.join("part");
        let blob = Hashing::new(BufWriter::new(File::create(&part)?));
        let mut tar = tar::Builder::new(Hashing::new(GzEncoder::new(blob, Compression::default())));
        for number in 0..files {
            let content = text(random.usize(1..2 * mean), random);
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(1_700_000_000);
            tar.append_data(
                &mut header,
                format!("{dir}/{:02}/file-{number}.txt", number % 40),
                &content[..],
            )?;
        }
        let (gzip, diff_id, _) = tar.into_inner()?.finish();
        let (mut blob, digest, size) = gzip.finish()?.finish();
        blob.flush()?;
        std::fs::rename(part, blobs.join(digest.to_string()))?;
        Ok(Self {
            digest,
            size,
            diff_id,
        })
    }
}

/// Words in lines, which gzip makes about a third of, like the text and code that images are full of.
fn text(len: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut text = Vec::with_capacity(len + 16);
    while text.len() < len {
        let word = random.u64(0..40_000);
        // Squaring makes some words frequent, as in a language.
        let word = word * word / 40_000;
        text.extend_from_slice(format!("{:x}", word.wrapping_mul(0x9e37_79b9) & 0xff_ffff).as_bytes());
        text.push(if random.u8(0..10) == 0 { b'\n' } else { b' ' });
    }
    text.truncate(len);
    text
}

/// Hashes and counts what is written through it.
struct Hashing<W> {
    inner: W,
    hasher: DigestHasher,
    len: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: DigestHasher::new(Algorithm::Sha256),
            len: 0,
        }
    }

    fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.len)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

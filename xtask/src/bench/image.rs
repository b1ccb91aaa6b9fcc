//! Images made for the bench out of the real one, as OCI layouts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use xshell::{Shell, cmd};

/// An OCI layout with one image, tag `image`.
pub(super) struct Image {
    layout: PathBuf,
}

impl Image {
    /// Writes an image whose layers are the `blobs` (gzip), with the diff IDs beside them, into the directory `layout`.
    fn write(layout: PathBuf, layers: &[(Value, String)]) -> Result<Self> {
        let diff_ids: Vec<_> = layers.iter().map(|(_, diff_id)| diff_id).collect();
        let config = json!({
            "os": "linux",
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = blob(&layout, "application/vnd.oci.image.config.v1+json", &config)?;
        let descriptors: Vec<_> = layers.iter().map(|(descriptor, _)| descriptor).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": descriptors,
        });
        let mut manifest = blob(&layout, "application/vnd.oci.image.manifest.v1+json", &manifest)?;
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "image" });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(layout.join("index.json"), index.to_string())?;
        fs::write(
            layout.join("oci-layout"),
            json!({ "imageLayoutVersion": "1.0.0" }).to_string(),
        )?;
        Ok(Self { layout })
    }

    /// `count` layers, each a slice of `tar` of as many bytes.
    pub(super) fn of_slices(sh: &Shell, layout: PathBuf, tar: &Path, count: u64, len: u64) -> Result<Self> {
        let blobs = create(&layout)?;
        let slice = layout.join("slice");
        let mut layers = Vec::new();
        for number in 0..count {
            // dd counts in blocks of 1 MiB.
            let (skip, blocks) = (((number * len) >> 20).to_string(), (len >> 20).to_string());
            cmd!(
                sh,
                "dd status=none bs=1M if={tar} of={slice} skip={skip} count={blocks}"
            )
            .quiet()
            .run()?;
            let diff_id = sha256(sh, &slice)?;
            cmd!(sh, "pigz --force --no-name --no-time {slice}")
                .quiet()
                .run()?;
            layers.push((adopt(sh, &layout.join("slice.gz"), &blobs)?, diff_id));
        }
        Self::write(layout, &layers)
    }

    /// One layer: a tar `times` times. Members of gzip make a blob of it that is `gzip` as many times.
    pub(super) fn of_repeated(
        sh: &Shell,
        layout: PathBuf,
        gzip: &Path,
        tar: &Path,
        times: usize,
    ) -> Result<Self> {
        let blobs = create(&layout)?;
        let whole = layout.join("whole.gz");
        let (gzips, tars) = (vec![gzip; times], vec![tar; times]);
        let copied = Command::new("cat")
            .args(&gzips)
            .stdout(File::create(&whole)?)
            .status()?;
        ensure!(copied.success(), "cat: {copied}");
        let mut cat = Command::new("cat").args(&tars).stdout(Stdio::piped()).spawn()?;
        let from = cat.stdout.take().context("cat has no output")?;
        let sum = Command::new("sha256sum").stdin(from).output()?;
        ensure!(
            cat.wait()?.success() && sum.status.success(),
            "sha256sum: {}",
            sum.status
        );
        let diff_id = named(&String::from_utf8(sum.stdout)?)?;
        let layer = adopt(sh, &whole, &blobs)?;
        Self::write(layout, &[(layer, diff_id)])
    }

    pub(super) fn reference(&self) -> String {
        format!("oci:{}:image", self.layout.display())
    }
}

fn create(layout: &Path) -> Result<PathBuf> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    Ok(blobs)
}

/// Puts a file among the blobs, and says what it is.
fn adopt(sh: &Shell, file: &Path, blobs: &Path) -> Result<Value> {
    let digest = sha256(sh, file)?;
    let size = fs::metadata(file)?.len();
    fs::rename(file, blobs.join(digest.trim_start_matches("sha256:")))?;
    Ok(json!({
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": digest,
        "size": size,
    }))
}

/// Writes a document as a blob, and says what it is.
fn blob(layout: &Path, media_type: &str, document: &Value) -> Result<Value> {
    use sha2::Digest as _;
    let bytes = document.to_string();
    let hex = hex::encode(sha2::Sha256::digest(&bytes));
    fs::write(layout.join("blobs/sha256").join(&hex), &bytes)?;
    Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() }))
}

fn sha256(sh: &Shell, file: &Path) -> Result<String> {
    named(&cmd!(sh, "sha256sum {file}").quiet().read()?)
}

/// What sha256sum has printed, as a digest.
fn named(printed: &str) -> Result<String> {
    let hex = printed
        .split_whitespace()
        .next()
        .context("sha256sum says nothing")?;
    Ok(format!("sha256:{hex}"))
}

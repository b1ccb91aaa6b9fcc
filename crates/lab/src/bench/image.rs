//! Images made for the bench out of the real one, as OCI layouts.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;
use xshell::{Shell, cmd};

use crate::images::layout::{CONFIG, LAYER, Layout, hash, hash_file};

/// An OCI layout with one image, tag `image`.
pub(super) struct Image {
    layout: PathBuf,
}

impl Image {
    /// Makes an image of `count` layers, each a slice of `tar` of `len` bytes.
    pub(super) fn of_slices(sh: &Shell, directory: &Path, tar: &Path, count: u64, len: u64) -> Result<Self> {
        let layout = Layout::create(directory)?;
        let slice = directory.join("slice");
        let mut tar = File::open(tar).with_context(|| format!("cannot open {}", tar.display()))?;
        let layers = (0..count).map(|number| {
            tar.seek(SeekFrom::Start(number * len))?;
            io::copy(&mut (&tar).take(len), &mut File::create(&slice)?)?;
            let (diff_id, _) = hash_file(&slice)?;
            cmd!(sh, "pigz --force --no-name --no-time {slice}")
                .quiet()
                .run()?;
            Ok((directory.join("slice.gz"), diff_id))
        });
        Self::write(layout, directory, layers)
    }

    /// Makes an image of one layer: a tar `times` times.
    ///
    /// Members of gzip make a blob of it that is `gzip` as many times.
    pub(super) fn of_repeated(directory: &Path, gzip: &Path, tar: &Path, times: u64) -> Result<Self> {
        let layout = Layout::create(directory)?;
        let whole = directory.join("whole.gz");
        let mut blob = File::create(&whole)?;
        let mut tars: Box<dyn Read> = Box::new(io::empty());
        for _ in 0..times {
            io::copy(&mut File::open(gzip)?, &mut blob)?;
            tars = Box::new(tars.chain(File::open(tar)?));
        }
        let (diff_id, _) = hash(tars)?;
        Self::write(layout, directory, [Ok((whole, diff_id))])
    }

    /// Writes an image whose layers are the files (gzip), which are moved, with their diff IDs.
    fn write(
        layout: Layout,
        directory: &Path,
        layers: impl IntoIterator<Item = Result<(PathBuf, String)>>,
    ) -> Result<Self> {
        let (mut descriptors, mut diff_ids) = (Vec::new(), Vec::new());
        for layer in layers {
            let (blob, diff_id) = layer?;
            descriptors.push(layout.add_file(&format!("{LAYER}+gzip"), &blob)?);
            fs::remove_file(blob)?;
            diff_ids.push(format!("sha256:{diff_id}"));
        }
        let config = json!({
            "os": "linux",
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = layout.add_json(CONFIG, &config)?;
        layout.tag(&layout.add_manifest(&config, &descriptors)?, "image")?;
        Ok(Self {
            layout: directory.to_owned(),
        })
    }

    pub(super) fn reference(&self) -> String {
        format!("oci:{}:image", self.layout.display())
    }
}

//! The place of a measurement: the servers, the programs and the layers.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use xshell::{Shell, cmd};

use super::image::Image;
use crate::servers::Servers;
use crate::servers::s3::{self, S3Kind};
use crate::{apt, dirs, images};

/// What the library is measured against.
const PACKAGES: &[&str] = &["curl", "isal", "pigz", "zstd", "containerd", "awscli"];

/// Layers of the image of slices, and the length of each in bytes.
pub(super) const SLICES: u64 = 10;
pub(super) const SLICE_LEN: u64 = 48 << 20;

/// A layer of the real image.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) number: usize,
    /// `sha256:...` of the blob.
    pub(super) digest: String,
    /// Length of the tar in bytes.
    pub(super) len: u64,
}

impl Layer {
    /// What tiers keep it as.
    pub(super) fn key(&self) -> String {
        format!("clip:oci:layer:decompressed:{}", self.digest)
    }
}

/// The figures that a workload of the example `bench` prints when it ends.
#[derive(Debug, Deserialize)]
pub(super) struct Figures {
    /// Measured by the workload itself.
    pub(super) seconds: f64,
    /// From the start of the process to its end.
    #[serde(skip)]
    pub(super) process_seconds: f64,
    pub(super) inflates: u64,
    pub(super) peak_rss_bytes: u64,
    /// Of all threads together.
    pub(super) cpu_seconds: f64,
}

/// Everything that rows need.
pub(super) struct Setup {
    pub(super) servers: Servers,
    /// The layers of the image, by tag.
    layers: BTreeMap<&'static str, Vec<Layer>>,
    images: PathBuf,
    worker: PathBuf,
    binary: PathBuf,
    shell: Shell,
    /// On the disk of the build.
    root: TempDir,
}

impl Setup {
    pub(super) fn open(sh: &Shell, profile: &str) -> Result<Self> {
        apt::ensure(sh, PACKAGES)?;
        cmd!(
            sh,
            "cargo build --locked --profile {profile} --package lab --package layercache-cli --features layercache-cli/full --bin layercache --example bench"
        )
        .run()?;
        let target = dirs::target(sh)?;
        let images = images::ensure(sh)?;
        // Not the small one of the tests: it holds back the end of each answer until all before it is acknowledged, 40 ms.
        let servers = Servers::start(sh, &images, S3Kind::Garage)?;
        let mut setup = Self {
            servers,
            layers: BTreeMap::new(),
            worker: target.join(profile).join("examples/bench"),
            binary: target.join(profile).join("layercache"),
            root: TempDir::with_prefix_in("bench-", &target)?,
            images,
            shell: sh.clone(),
        };
        for tag in ["gzip", "zstd"] {
            let layers = setup.pull(tag)?;
            setup.layers.insert(tag, layers);
        }
        Ok(setup)
    }

    /// Brings the image into the directory that is called `warm`, and learns what its layers are.
    fn pull(&self, tag: &str) -> Result<Vec<Layer>> {
        let config = self.config("warm", &[&self.disk("warm")])?;
        self.run(&self.binary, ["--config", &config, "pull", &self.layout(tag)])?;
        let inspected = self.output(&self.binary, ["inspect", "--json", &self.layout(tag)])?;
        let inspected: Value = serde_json::from_slice(&inspected)?;
        let layers = inspected["layers"].as_array().context("no layers")?;
        layers
            .iter()
            .enumerate()
            .map(|(number, layer)| {
                let digest = layer["digest"].as_str().context("no digest")?.to_owned();
                let len = fs::metadata(self.warm_file(&digest))?.len();
                Ok(Layer { number, digest, len })
            })
            .collect()
    }

    /// The longest layer of a tag.
    pub(super) fn largest(&self, tag: &str) -> &Layer {
        self.layers[tag]
            .iter()
            .max_by_key(|layer| layer.len)
            .expect("an image has layers")
    }

    /// The layer at the bottom.
    pub(super) fn base(&self, tag: &str) -> &Layer {
        &self.layers[tag][0]
    }

    /// The image in the registry.
    pub(super) fn image(&self, tag: &str) -> String {
        format!("{}/debian:{tag}", self.servers.open())
    }

    /// The image on the disk: for rows in which finding the image is no part of what is measured.
    pub(super) fn layout(&self, tag: &str) -> String {
        format!("oci:{}:{tag}", self.images.join("layout").display())
    }

    pub(super) fn blob_url(&self, layer: &Layer) -> String {
        format!("http://{}/v2/debian/blobs/{}", self.servers.open(), layer.digest)
    }

    /// The file of a blob of the image.
    pub(super) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.images.join("layout/blobs/sha256").join(hex)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The file of a layer in the directory `warm`, which has them all.
    pub(super) fn warm_file(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.path("warm").join(format!("layer-{hex}.decompressed"))
    }

    /// Makes an image of [`SLICES`] layers of [`SLICE_LEN`] bytes.
    pub(super) fn slices(&self) -> Result<Image> {
        self.clear("slices")?;
        let tar = self.warm_file(&self.largest("gzip").digest);
        Image::of_slices(&self.shell, &self.path("slices"), &tar, SLICES, SLICE_LEN)
    }

    /// Makes sure that there is nothing of this name, and that nothing waits to be written to the disk.
    pub(super) fn clear(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if path.exists() {
            fs::remove_file(&path)?;
        }
        self.settle()
    }

    /// Waits until nothing waits to be written to the disk: the next run would pay for it.
    pub(super) fn settle(&self) -> Result<()> {
        self.run(Path::new("sync"), ["--file-system".as_ref(), self.root.path()])
    }

    /// Writes the configuration `name`, of these tables.
    pub(super) fn config(&self, name: &str, tables: &[&str]) -> Result<String> {
        let path = self.path(&format!("{name}.toml"));
        fs::write(&path, tables.concat())?;
        Ok(path.display().to_string())
    }

    pub(super) fn disk(&self, directory: &str) -> String {
        let directory = self.path(directory);
        format!("[[tier]]\nkind = \"disk\"\ndir = {directory:?}\nmin_free_bytes = 0\n")
    }

    pub(super) fn registry(&self) -> String {
        "[[tier]]\nkind = \"registry\"\n".to_owned()
    }

    pub(super) fn redis(&self, options: &str) -> String {
        let url = self.servers.redis().alone();
        format!("[[tier]]\nkind = \"redis\"\nurl = {url:?}\n{options}")
    }

    pub(super) fn s3(&self, prefix: &str, options: &str) -> String {
        format!(
            "[[tier]]\nkind = \"s3\"\nendpoint = {:?}\nbucket = {:?}\nregion = {:?}\nprefix = {prefix:?}\n\
             access_key_id = {:?}\nsecret_access_key = {:?}\n{options}",
            self.servers.s3().endpoint(),
            s3::BUCKET,
            s3::REGION,
            s3::ACCESS_KEY_ID,
            s3::SECRET_ACCESS_KEY,
        )
    }

    /// Runs a workload of the example `bench`. An option with an empty value is a flag.
    pub(super) fn work(&self, workload: &str, options: &[(&str, &dyn Display)]) -> Result<Figures> {
        let mut arguments = vec![workload.to_owned()];
        for (name, value) in options {
            arguments.push(format!("--{name}"));
            arguments.extend(Some(value.to_string()).filter(|value| !value.is_empty()));
        }
        let start = Instant::now();
        let printed = self.output(&self.worker, arguments)?;
        let process_seconds = start.elapsed().as_secs_f64();
        Ok(Figures {
            process_seconds,
            ..serde_json::from_slice(&printed)?
        })
    }

    /// Times a line of the shell. A command of a pipe that fails makes it fail.
    pub(super) fn time_shell(&self, line: &str) -> Result<f64> {
        self.time(Path::new("bash"), ["-o", "pipefail", "-c", line])
    }

    /// Times the binary `layercache`.
    pub(super) fn time_binary<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<f64> {
        self.time(&self.binary, arguments)
    }

    fn time<S: AsRef<OsStr>>(&self, program: &Path, arguments: impl IntoIterator<Item = S>) -> Result<f64> {
        let start = Instant::now();
        self.run(program, arguments)?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn run<S: AsRef<OsStr>>(&self, program: &Path, arguments: impl IntoIterator<Item = S>) -> Result<()> {
        self.output(program, arguments).map(drop)
    }

    fn output<S: AsRef<OsStr>>(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Vec<u8>> {
        let name = program.display();
        let output = Command::new(program)
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", s3::ACCESS_KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", s3::SECRET_ACCESS_KEY)
            .env("AWS_DEFAULT_REGION", s3::REGION)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {name}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name}: {}\n{said}", output.status);
        Ok(output.stdout)
    }
}

//! Real images for the tests, made from Debian packages.
//!
//! `target/images` then holds
//!
//! | path | what |
//! |---|---|
//! | `layout/` | an OCI layout with the tags of [`TAGS`] |
//! | `small.oci-archive.tar`, `small.docker-archive.tar` | the image `small` in one file |
//! | `oracle.tsv`, `oracle-small.tsv` | what `umoci unpack` makes of the images: see `oracle.rs` |
//! | `registry/` | storage of docker-registry with the repository `debian`, holding all tags |
//! | `stamp` | hash of the recipe |
//!
//! The directory appears complete or not at all: it is built beside its place and renamed.

pub(crate) mod layout;
mod oracle;
mod rootfs;
mod variants;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;
use xshell::{Shell, cmd};

use crate::servers::registry::{Access, Registry};
use crate::{apt, dirs};

/// The tags of the image fixtures, in the layout and in the registries' repository `debian`.
///
/// - `gzip`, `zstd`, `plain`: one image of three layers, its layers compressed in three ways; same diff IDs
/// - `multi`: an image index of `gzip` for linux/amd64, a tiny image for linux/arm64/v8, and an attestation manifest
/// - `small`: the base layer alone, gzip
pub const TAGS: [&str; 5] = ["gzip", "zstd", "plain", "multi", "small"];

/// The task of this program that [`ensure`] runs under sudo: it calls [`build`]. Not for people.
pub const BUILD_TASK: &str = "build-images-as-root";

const PACKAGES: &[&str] = &["mmdebstrap", "umoci", "skopeo", "docker-registry", "pigz", "zstd"];

/// Builds the images unless they are there, and returns their directory.
///
/// # Errors
///
/// If a package is missing and cannot be installed, or a tool fails.
pub fn ensure(sh: &Shell) -> Result<PathBuf> {
    let target = dirs::target(sh)?;
    let images = target.join("images");
    let lock = File::create(target.join("images.lock"))?;
    lock.lock().context("cannot lock target/images.lock")?;

    if fs::read_to_string(images.join("stamp")).is_ok_and(|stamp| stamp == recipe()) {
        return Ok(images);
    }
    let start = Instant::now();
    apt::ensure(sh, PACKAGES)?;
    let partial = target.join("images.partial");
    remove_all(sh, &partial)?;
    fs::create_dir(&partial)?;
    if apt::is_root(sh)? {
        build(sh, &partial)?;
    } else if apt::can_sudo(sh) {
        let program = std::env::current_exe()?;
        let (user, path) = (cmd!(sh, "id -u").read()?, std::env::var("PATH")?);
        cmd!(
            sh,
            "sudo --non-interactive env PATH={path} {program} {BUILD_TASK} {partial}"
        )
        .run()?;
        cmd!(sh, "sudo --non-interactive chown --recursive {user} {partial}").run()?;
    } else {
        bail!(
            "building the images needs root (they are Debian installations): run this task as root or allow sudo"
        );
    }
    fs::write(partial.join("stamp"), recipe())?;
    remove_all(sh, &images)?;
    fs::rename(&partial, &images)?;
    eprintln!(
        "images built in {:.0} s in {}",
        start.elapsed().as_secs_f64(),
        images.display()
    );
    Ok(images)
}

/// Builds into the directory `images`, as root.
///
/// # Errors
///
/// If a tool fails.
pub fn build(sh: &Shell, images: &Path) -> Result<()> {
    let work = tempfile::Builder::new().prefix("work").tempdir_in(images)?;
    let start = Instant::now();
    let step = |what: &str| eprintln!("[{:4.0} s] {what}", start.elapsed().as_secs_f64());

    step("building the Debian installation, layer by layer");
    let built = rootfs::build(sh, work.path())?;
    step("writing the variants");
    let layout = layout::Layout::create(&images.join("layout"))?;
    variants::write(sh, work.path(), &built, &layout)?;
    step("unpacking the images for the oracle");
    oracle::write(sh, work.path(), &built, rootfs::FULL, &images.join("oracle.tsv"))?;
    oracle::write(
        sh,
        work.path(),
        &built,
        rootfs::SMALL,
        &images.join("oracle-small.tsv"),
    )?;
    step("writing the archives");
    let layout = images.join("layout");
    let (oci, docker) = (
        images.join("small.oci-archive.tar"),
        images.join("small.docker-archive.tar"),
    );
    cmd!(
        sh,
        "skopeo --insecure-policy copy --quiet oci:{layout}:small oci-archive:{oci}:small"
    )
    .run()?;
    cmd!(
        sh,
        "skopeo --insecure-policy copy --quiet oci:{layout}:small docker-archive:{docker}:debian:small"
    )
    .run()?;
    step("pushing to the registry");
    push_all(sh, work.path(), &layout, &images.join("registry"))?;
    step("done");

    work.close()?;
    readable_by_all(images)
}

/// Pushes every tag of `layout` to the repository `debian` of a registry that keeps it in `storage`.
fn push_all(sh: &Shell, work: &Path, layout: &Path, storage: &Path) -> Result<()> {
    let registry = Registry::start(&work.join("push"), storage, &Access::Open)?;
    let address = registry.address().to_string();
    for tag in TAGS {
        // Without --preserve-digests skopeo prefers blobs it has pushed before in another compression.
        cmd!(
            sh,
            "timeout --foreground 300 skopeo --insecure-policy copy --quiet --all --preserve-digests
             --dest-tls-verify=false oci:{layout}:{tag} docker://{address}/debian:{tag}"
        )
        .run()?;
    }
    Ok(())
}

/// The tools create blobs for root alone, but the tests may run as another user.
fn readable_by_all(directory: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    for entry in WalkDir::new(directory) {
        let entry = entry?;
        let mode = if entry.file_type().is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Removes what an earlier build left, which root may have made. Never what another file system holds: the directory may
/// be a half-made installation.
fn remove_all(sh: &Shell, path: &Path) -> Result<()> {
    let sudo: &[&str] = if apt::is_root(sh)? {
        &[]
    } else {
        &["sudo", "--non-interactive"]
    };
    if path.exists() {
        cmd!(
            sh,
            "env {sudo...} rm --recursive --force --one-file-system {path}"
        )
        .quiet()
        .run()?;
    }
    Ok(())
}

/// Hash of everything that decides what the images contain, so that a changed recipe builds them again.
fn recipe() -> String {
    let sources = [
        include_str!("mod.rs"),
        include_str!("layout.rs"),
        include_str!("oracle.rs"),
        include_str!("rootfs.rs"),
        include_str!("variants.rs"),
    ];
    hex::encode(Sha256::digest(sources.concat()))
}

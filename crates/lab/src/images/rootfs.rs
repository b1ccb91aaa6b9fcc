//! A Debian installation that grows in three steps, with a layer cut after each of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::apt;

/// The tag of the image with the base layer alone.
pub(crate) const SMALL: &str = "small";
/// The tag of the image with all layers.
pub(crate) const FULL: &str = "full";

/// Builds the images [`SMALL`] and [`FULL`] in `work` and returns the OCI layout that holds them.
///
/// umoci cuts the layers: it compares the directory with what it was at the last cut and writes additions,
/// changes and whiteouts, as a container builder does.
pub(crate) fn build(sh: &Shell, work: &Path) -> Result<PathBuf> {
    let (layout, bundle) = (work.join("umoci"), work.join("bundle"));
    let (small, full) = (
        format!("{}:{SMALL}", layout.display()),
        format!("{}:{FULL}", layout.display()),
    );
    cmd!(sh, "umoci init --layout {layout}").run()?;
    cmd!(sh, "umoci new --image {small}").run()?;
    cmd!(sh, "umoci unpack --image {small} {bundle}").run()?;

    let rootfs = bundle.join("rootfs");
    let (suite, source) = (apt::SUITE, format!("deb {} {} main", apt::mirror(), apt::SUITE));
    let proxy = cmd!(sh, "apt-config dump --format=%v Acquire::http::Proxy").read()?;
    let _proxy = (!proxy.is_empty()).then(|| sh.push_env("http_proxy", proxy));
    // In a mount namespace of its own: mounts of /dev and /sys that a killed mmdebstrap left in the directory would
    // be there for whoever removes it.
    cmd!(
        sh,
        "unshare --mount timeout --foreground 900 mmdebstrap --quiet --mode=root --variant=minbase --architectures=amd64
         {suite} {rootfs} {source}"
    )
    .run()
    .context("cannot build the base layer")?;
    cmd!(sh, "umoci repack --refresh-bundle --image {small} {bundle}").run()?;

    let apt = Apt::new(sh, work, &rootfs)?;
    apt.run(&["update"])?;
    apt.install(&["python3"])?;
    cmd!(sh, "umoci repack --refresh-bundle --image {full} {bundle}").run()?;

    apt.install(&["build-essential", "clang"])?;
    // Whiteouts: of a file of the base layer, and of directories of both lower layers.
    fs::remove_file(rootfs.join("usr/share/common-licenses/GPL-1"))?;
    for directory in ["usr/share/doc/python3", "usr/share/doc/bash"] {
        fs::remove_dir_all(rootfs.join(directory))?;
    }
    // An empty directory and a file's changed mode: layers hold more than packages.
    fs::create_dir(rootfs.join("srv/empty"))?;
    cmd!(sh, "chmod 0640 {rootfs}/etc/debian_version").run()?;
    cmd!(sh, "umoci repack --refresh-bundle --image {full} {bundle}").run()?;
    Ok(layout)
}

/// This machine's apt-get working on the installation: it needs neither network nor name service inside of it, and
/// leaves no lists and no downloads in the layers.
struct Apt<'a> {
    sh: &'a Shell,
    options: Vec<String>,
}

impl<'a> Apt<'a> {
    fn new(sh: &'a Shell, work: &Path, rootfs: &Path) -> Result<Self> {
        let lists = work.join("apt-lists");
        fs::create_dir_all(lists.join("partial"))?;
        let options = [
            format!("Dir={}", rootfs.display()),
            format!("DPkg::Chroot-Directory={}", rootfs.display()),
            format!("Dir::State::Lists={}", lists.display()),
            "Dir::Cache::pkgcache=".to_owned(),
            "Dir::Cache::srcpkgcache=".to_owned(),
            "Dir::Bin::Methods=/usr/lib/apt/methods".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            "Acquire::http::Timeout=30".to_owned(),
            "Dpkg::Use-Pty=false".to_owned(),
        ]
        .map(|option| format!("--option={option}"))
        .into();
        Ok(Self { sh, options })
    }

    fn install(&self, packages: &[&str]) -> Result<()> {
        self.run(&[&["--yes", "--no-install-recommends", "install"], packages].concat())?;
        self.run(&["clean"])
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        let options = &self.options;
        cmd!(
            self.sh,
            "env DEBIAN_FRONTEND=noninteractive timeout --foreground 900
             apt-get --quiet --quiet {options...} {arguments...}"
        )
        .quiet()
        .ignore_stdout()
        .run()
        .with_context(|| format!("apt-get {} failed in the image", arguments.join(" ")))
    }
}

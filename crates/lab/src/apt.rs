//! Debian packages: a missing one is installed where that is possible, and named in the error otherwise.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use xshell::{Shell, cmd};

/// The suite the image fixtures are made of.
pub(crate) const SUITE: &str = "bookworm";

/// The tests of crashes use it to end processes at any system call.
pub const STRACE: &[&str] = &["strace"];

const BOUNDS: &[&str] = &[
    "--option=Acquire::Retries=3",
    "--option=Acquire::http::Timeout=30",
];

/// Installs those of `packages` that are missing.
///
/// # Errors
///
/// If a package is missing and cannot be installed here.
pub fn ensure(sh: &Shell, packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|package| !is_installed(sh, package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("install them by hand: apt-get install {}", missing.join(" "));
    if cmd!(sh, "apt-get --version")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()
        .is_err()
    {
        bail!("these Debian packages are needed, and there is no apt-get here; {by_hand}");
    }
    let sudo = sudo(sh)?.with_context(|| {
        format!("these Debian packages are needed, and you are neither root nor may use sudo; {by_hand}")
    })?;
    update(sh, sudo)?;
    cmd!(
        sh,
        "env {sudo...} env DEBIAN_FRONTEND=noninteractive timeout --foreground 600
         apt-get --quiet {BOUNDS...} --yes --no-install-recommends install {missing...}"
    )
    .run()
    .with_context(|| format!("apt-get failed; {by_hand}"))
}

/// Unpacks a package into the directory `root`, which appears complete or not at all.
///
/// Nothing is installed, so nothing is started that the package would start.
pub(crate) fn unpack(sh: &Shell, package: &str, root: &Path) -> Result<()> {
    let partial = root.with_extension("partial");
    sh.remove_path(&partial)?;
    let downloads = sh.create_dir(partial.join("download"))?;
    let download = || {
        let _there = sh.push_dir(&downloads);
        cmd!(
            sh,
            "timeout --foreground 600 apt-get --quiet {BOUNDS...} download {package}"
        )
        .ignore_stdout()
        .run()
    };
    if download().is_err() {
        let sudo = sudo(sh)?.with_context(|| {
            format!("{package} cannot be downloaded: `apt-get update` may help, for which you are neither root nor may use sudo")
        })?;
        update(sh, sudo)?;
        download().with_context(|| format!("cannot download {package}"))?;
    }
    let unpacked = partial.join("root");
    for archive in sh.read_dir(&downloads)? {
        cmd!(sh, "dpkg-deb --extract {archive} {unpacked}").run()?;
    }
    fs::rename(&unpacked, root).with_context(|| format!("cannot create {}", root.display()))?;
    Ok(sh.remove_path(&partial)?)
}

fn update(sh: &Shell, sudo: &[&str]) -> Result<()> {
    cmd!(
        sh,
        "env {sudo...} timeout --foreground 180 apt-get --quiet {BOUNDS...} update"
    )
    .run()
    .context("cannot fetch the package lists")
}

/// What to put in front of a command that root alone may run; `None` where there is no way.
fn sudo(sh: &Shell) -> Result<Option<&'static [&'static str]>> {
    Ok(if is_root(sh)? {
        Some(&[])
    } else if can_sudo(sh) {
        Some(&["sudo", "--non-interactive"])
    } else {
        None
    })
}

fn is_installed(sh: &Shell, package: &str) -> bool {
    let format = "${db:Status-Status}";
    cmd!(sh, "dpkg-query --show --showformat={format} {package}")
        .quiet()
        .ignore_stderr()
        .read()
        .is_ok_and(|status| status == "installed")
}

pub(crate) fn is_root(sh: &Shell) -> Result<bool> {
    Ok(cmd!(sh, "id -u").quiet().read()? == "0")
}

/// Whether sudo works without asking for a password: a task must not wait for a terminal.
pub(crate) fn can_sudo(sh: &Shell) -> bool {
    cmd!(sh, "sudo --non-interactive true")
        .quiet()
        .ignore_stderr()
        .run()
        .is_ok()
}

/// The Debian mirror this machine is configured for: the one that is known to be reachable from here.
pub(crate) fn mirror() -> String {
    let sources = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    sources
        .chain(["/etc/apt/sources.list".into()])
        .filter_map(|path| fs::read_to_string(path).ok())
        .find_map(|text| mirror_in(&text))
        .unwrap_or_else(|| "http://deb.debian.org/debian".to_owned())
}

/// Finds the mirror in one file of either format: `deb [options] URI SUITE ...` lines, or stanzas of
/// `URIs:` and `Suites:` fields.
fn mirror_in(text: &str) -> Option<String> {
    let one_line = text.lines().filter_map(|line| {
        let mut words = line
            .strip_prefix("deb ")?
            .split_whitespace()
            .skip_while(|word| !word.contains("://"));
        let uri = words.next()?;
        (words.next()? == SUITE).then_some(uri)
    });
    let stanzas = text.split("\n\n").filter_map(|stanza| {
        let field = |name: &str| {
            stanza
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::split_whitespace)
        };
        field("Suites:")?
            .any(|suite| suite == SUITE)
            .then(|| field("URIs:")?.next())
            .flatten()
    });
    one_line.chain(stanzas).next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::mirror_in;

    #[test]
    fn the_mirror_is_found_in_both_formats() {
        let one_line = "# a comment\ndeb-src http://a/debian bookworm main\n\
                        deb http://security/debian-security bookworm-security main\n\
                        deb [arch=amd64 signed-by=/k.gpg] http://b/debian bookworm main contrib\n";
        assert_eq!(mirror_in(one_line).as_deref(), Some("http://b/debian"));

        let stanzas = "Types: deb\nURIs: http://security/debian-security\nSuites: bookworm-security\n\n\
                       Types: deb\nURIs: http://c/debian\nSuites: bookworm bookworm-updates\nComponents: main\n";
        assert_eq!(mirror_in(stanzas).as_deref(), Some("http://c/debian"));

        assert_eq!(mirror_in("deb http://d/debian trixie main\n"), None);
    }
}

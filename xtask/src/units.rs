//! `cargo xtask units`: the units in dist/systemd are ones that systemd takes, and they are locked up.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use lab::{apt, dirs};
use xshell::{Shell, cmd};

/// What the units run. It need not be there to have them checked.
const PROGRAM: &str = "/usr/local/bin/layercache";
/// How much of the system a service may be exposed to, in tenths of what `systemd-analyze security` tells: 20 is "OK".
const MAX_EXPOSURE: &str = "20";

pub(crate) fn run(sh: &Shell) -> Result<()> {
    apt::ensure(sh, &["systemd"])?;
    let scratch = tempfile::tempdir()?;
    let (mut names, mut loaded, mut services) = (Vec::new(), Vec::new(), Vec::new());
    for entry in fs::read_dir(dirs::workspace().join("dist/systemd"))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .context("a unit has no name")?;
        let text = fs::read_to_string(&path)?;
        fs::write(scratch.path().join(name), text.replace(PROGRAM, "/bin/true"))?;
        ensure!(
            !text.contains("Environment=LAYERCACHE_"),
            "{name} sets what overrides the file of whoever runs it"
        );
        names.extend(name.split(['@', '.']).next().map(str::to_owned));
        // A template is checked as one that is made of it.
        loaded.push(scratch.path().join(name.replace("@.", "@image.")));
        if name.ends_with(".service") {
            ensure!(
                text.contains(&format!("\nExecStart={PROGRAM} ")),
                "{name} does not run {PROGRAM}"
            );
            services.push(scratch.path().join(name));
        }
    }
    ensure!(!services.is_empty(), "there are no units in dist/systemd");
    // It ends well where it has only warned.
    let verify = cmd!(sh, "systemd-analyze verify --man=no {loaded...}")
        .quiet()
        .ignore_status()
        .output()?;
    let said = String::from_utf8_lossy(&verify.stderr);
    // It looks at what they refer to as well, and this host's own units are not the matter.
    let about_ours = said
        .lines()
        .any(|line| names.iter().any(|name| line.contains(name)));
    ensure!(
        verify.status.success() && !about_ours,
        "systemd does not take the units as they are:\n{said}"
    );
    for service in services {
        cmd!(
            sh,
            "systemd-analyze security --offline=yes --threshold={MAX_EXPOSURE} {service}"
        )
        .quiet()
        .ignore_stdout()
        .run()
        .with_context(|| format!("{} is exposed to more than it needs", service.display()))?;
    }
    Ok(())
}

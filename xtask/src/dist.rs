//! `cargo xtask dist`: what is installed on a host, as a tree that is copied to /usr/local.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::{dirs, page};
use xshell::{Shell, cmd};

const NAME: &str = "layercache";
/// Where completions of a shell are looked for.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "share/bash-completion/completions/layercache"),
    ("zsh", "share/zsh/site-functions/_layercache"),
    ("fish", "share/fish/vendor_completions.d/layercache.fish"),
];

/// What is told of a build.
struct Build {
    /// Of the binary as it is installed, and without its symbols, in bytes.
    len: u64,
    len_without_symbols: u64,
    /// What it took of all processors together: unlike the time on a clock, it depends little on what else the machine did.
    took: Duration,
    from_nothing: bool,
}

pub(crate) fn run(sh: &Shell, write: bool) -> Result<()> {
    let target = dirs::target(sh)?;
    let root = target.join("dist");
    remove(&root)?;
    // What is written down is how long all of it takes, with nothing built before.
    let build_dir = if write { target.join("dist-build") } else { target };
    if write {
        remove(&build_dir)?;
    }
    let before = processor_time()?;
    cmd!(
        sh,
        "cargo build --locked --release --package layercache-cli --features full --target-dir {build_dir}"
    )
    .run()?;
    let took = processor_time()? - before;

    let binary = root.join("bin").join(NAME);
    copy(&build_dir.join("release").join(NAME), &binary)?;
    let man = root.join("share/man/man1");
    fs::create_dir_all(&man)?;
    cmd!(sh, "{binary} man {man}").run()?;
    for (shell, path) in COMPLETIONS {
        write_output(sh, &binary, &["completions", shell], &root.join(path))?;
    }
    let example = root.join("share/doc/layercache/layercache.example.toml");
    write_output(sh, &binary, &["config", "example"], &example)?;
    let sources = dirs::workspace().join("dist");
    for (from, to) in [
        ("systemd", "lib/systemd/system"),
        ("sysusers.d", "lib/sysusers.d"),
    ] {
        for entry in fs::read_dir(sources.join(from))? {
            let entry = entry?;
            copy(&entry.path(), &root.join(to).join(entry.file_name()))?;
        }
    }

    let without_symbols = build_dir.join("layercache-without-symbols");
    cmd!(sh, "strip --strip-all -o {without_symbols} {binary}").run()?;
    let build = Build {
        len: fs::metadata(&binary)?.len(),
        len_without_symbols: fs::metadata(&without_symbols)?.len(),
        took,
        from_nothing: write,
    };
    fs::remove_file(&without_symbols)?;
    println!("{}\n{}", root.display(), build.table(sh)?);
    if write {
        let path = dirs::workspace().join("docs/packaging.md");
        let text = fs::read_to_string(&path)?;
        fs::write(&path, page::replace(&text, "build", &build.table(sh)?)?)?;
    }
    Ok(())
}

impl Build {
    fn table(&self, sh: &Shell) -> Result<String> {
        let rustc = cmd!(sh, "rustc --version").quiet().read()?;
        let rustc = rustc.split(' ').nth(1).unwrap_or_default();
        let mib = |len: u64| format!("{:.1} MiB", len as f64 / f64::from(1 << 20));
        let started = if self.from_nothing {
            "nothing built before"
        } else {
            "what was built before kept"
        };
        Ok(format!(
            "| | |\n|---|---|\n\
             | the binary, with every feature | {} |\n\
             | without its symbols, which name the functions in a backtrace | {} |\n\
             | building it with Rust {rustc}, {started}: processor time | {:.0} s |\n",
            mib(self.len),
            mib(self.len_without_symbols),
            self.took.as_secs_f64(),
        ))
    }
}

/// What the processes that this one has started and waited for have taken, and those that they have.
fn processor_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    children_time(&stat).context("/proc/self/stat does not tell the time of children")
}

/// The fields `cutime` and `cstime`, the 16th and 17th, in hundredths of a second; the second field may contain anything.
fn children_time(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let ticks = |field: usize| -> Option<u64> { after_name.split_whitespace().nth(field - 3)?.parse().ok() };
    Some(Duration::from_millis((ticks(16)? + ticks(17)?) * 10))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let dir = to.parent().context("a file at the root")?;
    fs::create_dir_all(dir)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Writes what the binary prints.
fn write_output(sh: &Shell, binary: &Path, arguments: &[&str], to: &Path) -> Result<()> {
    let output = cmd!(sh, "{binary} {arguments...}").quiet().output()?;
    fs::create_dir_all(to.parent().context("a file at the root")?)?;
    Ok(fs::write(to, output.stdout)?)
}

/// Removes a directory with all that is in it, if it is there.
fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_is_found_whatever_the_process_is_called() {
        let stat = "42 (a) b) S 1 2 3 0 -1 4 5 6 7 8 11 12 1300 14 20 0 1 0 99";
        assert_eq!(children_time(stat), Some(Duration::from_millis(13_140)));
        assert_eq!(children_time("42 (a) S 1"), None);
    }
}

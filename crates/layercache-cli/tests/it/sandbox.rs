//! A home of its own for a test, and the binary run in it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use layercache::core::digest::DigestHasher;
use layercache::core::{Algorithm, Digest};
use serde_json::Value;
use tempfile::TempDir;

use crate::environment;

/// A directory that is the home of the commands run in it, so that they share a cache with nobody else.
#[derive(Debug)]
pub(crate) struct Sandbox {
    root: TempDir,
    runs: AtomicU32,
}

/// What a command that has ended has said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    /// What it wrote for `--stats`; null if it wrote nothing.
    pub(crate) stats: Value,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        // On the disk of the build: layers may be too many bytes for a /tmp in memory.
        let root = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let runs = AtomicU32::new(0);
        Self { root, runs }
    }

    /// One in memory, where there is a file system for that: for what is small and done many times.
    pub(crate) fn in_memory() -> Self {
        let root = TempDir::new_in("/dev/shm").unwrap_or_else(|_| Self::new().root);
        let runs = AtomicU32::new(0);
        Self { root, runs }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a file, with the directories it is in, and returns its path.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, contents).unwrap();
        path
    }

    /// The default cache directory of this home.
    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.path(".cache/clip")
    }

    /// The binary with these arguments, in an environment of a home, a `PATH` and nothing else.
    pub(crate) fn command<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(environment::binary());
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.root.path())
            .current_dir(self.root.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Outcome {
        self.finish(self.command(arguments))
    }

    /// Runs a command that [`command`](Self::command) made to its end.
    pub(crate) fn finish(&self, mut command: Command) -> Outcome {
        let stats = self.stats_file();
        let output = command.arg("--stats").arg(&stats).output().unwrap();
        Outcome::new(&output, &stats)
    }

    /// A name for the figures of one run.
    pub(crate) fn stats_file(&self) -> PathBuf {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        self.path(&format!("stats-{run}.json"))
    }

    /// Runs a command that must succeed and have nothing to complain about.
    pub(crate) fn succeed<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Outcome {
        self.run(arguments).succeeded()
    }

    /// Runs a command that must fail; the line it says why in.
    pub(crate) fn fail<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> String {
        self.run(arguments).failed()
    }

    /// The files in the cache directory, with their paths in it. Directories are left out, and the records of images: these stay
    /// when layers go.
    pub(crate) fn cached_files(&self) -> BTreeSet<String> {
        let mut files = files_below(&self.cache_dir());
        files.retain(|name| !name.starts_with("image/"));
        files
    }
}

impl Outcome {
    pub(crate) fn new(output: &Output, stats: &Path) -> Self {
        let stats = std::fs::read(stats).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
        Self {
            code: output.status.code(),
            stdout: output.stdout.clone(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
            stats,
        }
    }

    pub(crate) fn succeeded(self) -> Self {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""));
        self
    }

    /// Exit code 1, nothing on standard output, and the one line on standard error.
    pub(crate) fn failed(self) -> String {
        assert_eq!((self.code, self.stdout.len()), (Some(1), 0), "{}", self.stderr);
        one_line(&self.stderr)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Standard output as one JSON document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap()
    }

    /// Standard output as one JSON document a line.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn inflates(&self) -> u64 {
        self.stats["inflates"].as_u64().unwrap()
    }
}

/// The text of a standard error that must be one line, which says whose it is.
pub(crate) fn one_line(stderr: &str) -> String {
    let line = stderr
        .strip_suffix('\n')
        .unwrap_or_else(|| panic!("no line: {stderr:?}"));
    assert!(
        line.starts_with("layercache: ") && !line.contains('\n'),
        "{stderr}"
    );
    line.to_owned()
}

/// The files below a directory, with their paths in it; none when it is not there.
pub(crate) fn files_below(dir: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(next) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else {
            continue;
        };
        for entry in entries {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            } else {
                let path = entry.path();
                files.insert(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files
}

/// Runs a command that must succeed, and hashes the next `sizes` bytes of its standard output, each on its own; there must
/// be no more. Holds none of them, for they may be those of a whole image.
pub(crate) fn digests_of_stdout(mut command: Command, sizes: &[u64]) -> Vec<Digest> {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let digests = sizes
        .iter()
        .map(|&size| {
            let (digest, len) = digest_of((&mut stdout).take(size));
            assert_eq!(len, size, "standard output ends too early");
            digest
        })
        .collect();
    assert_eq!(digest_of(&mut stdout).1, 0, "there is more on standard output");
    assert!(child.wait().unwrap().success());
    digests
}

/// Digest and length of what can be read.
pub(crate) fn digest_of(mut bytes: impl Read) -> (Digest, u64) {
    let mut hasher = DigestHasher::new(Algorithm::Sha256);
    let (mut buffer, mut len) = (vec![0; 1 << 20], 0);
    loop {
        match bytes.read(&mut buffer).unwrap() {
            0 => return (hasher.finish(), len),
            read => {
                hasher.update(&buffer[..read]);
                len += read as u64;
            }
        }
    }
}

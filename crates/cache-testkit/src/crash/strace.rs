//! strace, which sees each system call of a process, and can make any of them fail or be the last.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::trace::Call;

/// The calls that change files and directories, and those that say which.
const FILE_CALLS: &str = "openat,open,creat,mkdir,mkdirat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,\
                          copy_file_range,sendfile,fsync,fdatasync,sync_file_range,link,linkat,rename,renameat,renameat2,\
                          unlink,unlinkat,symlink,symlinkat,rmdir,fchmod,fchmodat,utimensat,flock";

/// Of so many points of a call each one is tried. A fill has no more of any call.
const FIRST_POINTS: usize = 5;

/// What is done to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The process is killed instead.
    Kill,
    /// It does nothing and fails with this error, such as `EIO`.
    Fail(&'static str),
}

/// A system call of a process that is run again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point {
    /// The name of the call.
    pub call: String,
    /// Which one of its name that some thread makes, from 1; 0 for all of them.
    pub nth: usize,
    /// Calls on anything but these files and directories do not count; all do when there are none.
    pub on: Vec<PathBuf>,
}

impl Point {
    /// The same of a run on another cache directory.
    #[must_use]
    pub fn in_place_of(&self, dir: &Path) -> Self {
        let mut point = self.clone();
        if !point.on.is_empty() {
            point.on = directories(dir);
        }
        point
    }

    /// Whether a process that has ended leaves other files behind the call than in front of it.
    pub fn changes_files(&self) -> bool {
        !matches!(
            &*self.call,
            "flock" | "utimensat" | "fchmod" | "fsync" | "fdatasync"
        )
    }

    /// Whether the call may fail because the disk is full.
    pub fn takes_space(&self) -> bool {
        !matches!(&*self.call, "flock" | "utimensat" | "fchmod" | "unlinkat")
    }
}

/// The directories that names of a cache directory are in.
fn directories(dir: &Path) -> Vec<PathBuf> {
    vec![dir.to_owned(), dir.join("lock"), dir.join("staging")]
}

/// A run of a command under strace.
#[derive(Debug)]
pub struct Strace {
    log: PathBuf,
    calls: String,
    with_data: bool,
    injected: Option<(Point, Action)>,
}

impl Strace {
    /// Writes its log to the file `log`, for [`trace`](Self::trace).
    pub fn new(log: impl Into<PathBuf>) -> Self {
        Self {
            log: log.into(),
            calls: FILE_CALLS.to_owned(),
            with_data: false,
            injected: None,
        }
    }

    /// The same, of these further calls as well.
    #[must_use]
    pub fn of(mut self, calls: &str) -> Self {
        self.calls = format!("{},{calls}", self.calls);
        self
    }

    /// The same, with all that is written in the log: what [`Disk`](super::Disk) needs.
    #[must_use]
    pub fn with_data(mut self) -> Self {
        self.with_data = true;
        self
    }

    /// The same, with something done at a point.
    #[must_use]
    pub fn with(mut self, point: &Point, action: Action) -> Self {
        self.injected = Some((point.clone(), action));
        self
    }

    /// `command` with its arguments, its environment and its working directory under strace. Standard streams are for the caller to set.
    ///
    /// # Panics
    /// When there is no strace.
    pub fn command(&self, command: &Command) -> Command {
        let there = Command::new("strace").arg("--version").output();
        assert!(
            there.is_ok_and(|output| output.status.success()),
            "strace is not installed: run `cargo xtask test`"
        );
        let mut strace = Command::new("strace");
        strace.args(["--follow-forks", "--quiet=all", "--decode-fds=path"]);
        strace.arg("--output").arg(&self.log);
        strace.args(["--string-limit", if self.with_data { "100000000" } else { "64" }]);
        strace.arg(format!("--trace={}", self.calls));
        if let Some((point, action)) = &self.injected {
            let action = match action {
                Action::Kill => "signal=KILL".to_owned(),
                Action::Fail(error) => format!("error={error}"),
            };
            let when = match point.nth {
                0 => String::new(),
                nth => format!(":when={nth}"),
            };
            strace.arg(format!("--inject={}:{action}{when}", point.call));
            for path in &point.on {
                strace.arg("--trace-path").arg(path);
            }
        }
        strace
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args());
        if let Some(dir) = command.get_current_dir() {
            strace.current_dir(dir);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => strace.env(name, value),
                None => strace.env_remove(name),
            };
        }
        strace
    }

    /// What the command did, once it has ended.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub fn trace(&self) -> Vec<Call> {
        let log = std::fs::read(&self.log).expect("strace writes a log");
        Call::parse_all(&String::from_utf8_lossy(&log))
    }
}

/// The fail points of a trace on files below `dir`: the calls that change something there, each of which
/// a run that does the same reaches again.
pub fn points(trace: &[Call], dir: &Path) -> Vec<Point> {
    let mut points = Vec::new();
    let mut made = HashMap::<(u32, &str), usize>::new();
    let mut most = HashMap::<&str, usize>::new();
    for call in trace {
        // Anything of the process writes, and a lock file with less in it is the lock all the same.
        if call.name == "write" {
            continue;
        }
        let here = touches(call, dir);
        // The loader opens files as well, and other threads do.
        let counted_here_alone = call.name == "openat";
        if counted_here_alone && !here {
            continue;
        }
        let count = made.entry((call.thread, &call.name)).or_default();
        *count += 1;
        // strace counts for each thread, so that the first one to come so far is the one it stops.
        let most = most.entry(&call.name).or_default();
        if *count > *most {
            *most = *count;
            if here && changes(call) {
                let on = if counted_here_alone {
                    directories(dir)
                } else {
                    Vec::new()
                };
                points.push(Point {
                    call: call.name.clone(),
                    nth: *count,
                    on,
                });
            }
        }
    }
    points
}

/// Of the points of each call the first few and the last one; all, where `LAYERCACHE_TEST_EXHAUSTIVE` is set.
pub fn some_of(points: &[Point]) -> Vec<Point> {
    let all = std::env::var_os("LAYERCACHE_TEST_EXHAUSTIVE").is_some();
    let is_last = |point: &Point| {
        let of_the_call = points.iter().filter(|other| other.call == point.call);
        of_the_call.map(|other| other.nth).max() == Some(point.nth)
    };
    let mut seen = HashMap::<&str, usize>::new();
    let mut some = Vec::new();
    for point in points {
        let count = seen.entry(&point.call).or_default();
        *count += 1;
        if all || *count <= FIRST_POINTS || is_last(point) {
            some.push(point.clone());
        }
    }
    some
}

fn touches(call: &Call, dir: &Path) -> bool {
    (0..call.arguments.len()).any(|n| {
        call.descriptor(n).is_some_and(|(_, path)| path.starts_with(dir))
            || (n < 2 && call.path(n).is_some_and(|path| path.starts_with(dir)))
    })
}

fn changes(call: &Call) -> bool {
    let creates = |flags: &String| flags.contains("O_CREAT") || flags.contains("O_TMPFILE");
    call.name != "openat" || call.arguments.get(2).is_some_and(creates)
}

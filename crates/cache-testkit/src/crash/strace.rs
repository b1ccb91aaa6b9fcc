//! strace, which sees each system call of a process, and can make any of them fail or be the last.

use std::path::PathBuf;
use std::process::Command;

use super::point::Point;
use super::trace::Call;

/// The calls that change files and directories, and those that say which.
const FILE_CALLS: &str = "openat,open,creat,mkdir,mkdirat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,\
                          copy_file_range,sendfile,fsync,fdatasync,sync_file_range,link,linkat,rename,renameat,renameat2,\
                          unlink,unlinkat,symlink,symlinkat,rmdir,fchmod,fchmodat,utimensat,flock";

/// What is done to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The process is killed instead.
    Kill,
    /// It does nothing and fails with this error, such as `EIO`.
    Fail(&'static str),
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
        // Some machines lack some of them.
        let calls: Vec<_> = self.calls.split(',').map(|call| format!("?{call}")).collect();
        strace.arg(format!("--trace={}", calls.join(",")));
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

//! A small file system of its own for a command.

use std::process::Command;

use crate::sandbox::Sandbox;

pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

/// What a command has come to, and what it left.
pub(crate) struct InTmpfs {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    /// The files in the cache directory when the command had ended.
    pub(crate) left: Vec<String>,
}

/// Runs the binary with a file system of its own as cache directory, which `prepare` prepares as `$1`. It is mounted in a
/// mount namespace, and so gone when the command is, however that ends.
pub(crate) fn in_tmpfs(sandbox: &Sandbox, options: &str, arguments: &[&str], prepare: &str) -> InTmpfs {
    let (dir, left) = (sandbox.path("mounted"), sandbox.path("left"));
    std::fs::create_dir_all(&dir).unwrap();
    let inner = sandbox.command(arguments);
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !is_root() {
        command.arg("--map-root-user");
    }
    let script = format!(
        "mount -t tmpfs -o {options} tmpfs \"$1\" || exit 99; {prepare}
         dir=$1 left=$2; shift 2; \"$@\" --cache-dir \"$dir\"; code=$?
         (cd \"$dir\" && find . -type f -printf '%P\\n') > \"$left\"; exit $code"
    );
    command.args(["sh", "-c", &script, "sh"]).args([&dir, &left]);
    command
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    assert_ne!(
        output.status.code(),
        Some(99),
        "a test needs to mount: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let left = std::fs::read_to_string(&left)
        .expect("a test needs mount namespaces: run it as root, or allow user namespaces");
    InTmpfs {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
        left: left.lines().map(str::to_owned).collect(),
    }
}

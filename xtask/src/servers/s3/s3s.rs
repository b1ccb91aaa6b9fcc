//! s3s-fs: buckets are directories, objects are files.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use xshell::Shell;

use super::{ACCESS_KEY_ID, BUCKET, S3, SECRET_ACCESS_KEY};
use crate::servers::process::Process;
use crate::tools;

pub(super) fn start(sh: &Shell, directory: &Path) -> Result<S3> {
    let binary = tools::ensure(sh, tools::S3S_FS)?;
    let root = directory.join("root");
    fs::create_dir_all(root.join(BUCKET))?;
    let mut process = Process::start(directory, &binary, |command| {
        command
            .env("RUST_LOG", "s3s_fs=info")
            .args(["--host", "127.0.0.1", "--port", "0"])
            .args(["--access-key", ACCESS_KEY_ID, "--secret-key", SECRET_ACCESS_KEY])
            .arg(&root);
    })?;
    // The system chooses the port, and the log tells it once the server listens.
    let address = process.wait_for(running_at)?;
    Ok(S3 {
        _process: process,
        address,
    })
}

fn running_at(log: &str) -> Option<SocketAddr> {
    let rest = log.split("server is running at http://").nth(1)?;
    rest.split_once('\n')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::running_at;

    #[test]
    fn the_address_is_read_from_a_whole_line_only() {
        let line = "  2026-01-01T00:00:00Z  INFO s3s_fs: server is running at http://127.0.0.1:4242\n    at main.rs\n";
        assert_eq!(running_at(line), Some(([127, 0, 0, 1], 4242).into()));
        assert_eq!(running_at(&line[..line.find("42\n").unwrap()]), None);
    }
}

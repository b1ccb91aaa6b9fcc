//! An S3-compatible server on loopback that checks signatures: s3s-fs, or Garage.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;

use anyhow::Result;
use xshell::Shell;

use super::process::{Process, start_on};
use crate::tools;

/// The bucket, which is there from the start.
pub(crate) const BUCKET: &str = "layers";
/// Not the region that clients fall back to, so that one that was not told is noticed: Garage checks it.
pub(crate) const REGION: &str = "test-1";
/// The format is Garage's; the other takes any.
pub(crate) const ACCESS_KEY_ID: &str = "GK6c6179657263616368652d73";
pub(crate) const SECRET_ACCESS_KEY: &str = "6e6f626f647920627574207465737473206d6179206b6e6f7720746869732030";

/// Which server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3Kind {
    /// s3s-fs: small, and installed in a minute.
    S3s,
    /// Garage: what people run, but installed in a quarter of an hour.
    Garage,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct S3 {
    _process: Process,
    address: SocketAddr,
}

impl S3 {
    /// Starts a server that keeps everything in `directory`. It is installed first where that is necessary.
    pub(crate) fn start(sh: &Shell, directory: &Path, kind: S3Kind) -> Result<Self> {
        match kind {
            S3Kind::S3s => start_s3s(sh, directory),
            S3Kind::Garage => start_garage(sh, directory),
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Starts s3s-fs: buckets are directories, objects are files.
fn start_s3s(sh: &Shell, directory: &Path) -> Result<S3> {
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

/// Starts Garage with one node and one bucket.
fn start_garage(sh: &Shell, directory: &Path) -> Result<S3> {
    let binary = tools::ensure(sh, tools::GARAGE)?;
    fs::create_dir_all(directory)?;
    let config = directory.join("garage.toml");
    start_on(|[api, rpc]| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, api));
        fs::write(&config, garage_configuration(directory, address, rpc))?;
        let mut process = Process::start(directory, &binary, |command| {
            command
                .env("GARAGE_DEFAULT_ACCESS_KEY", ACCESS_KEY_ID)
                .env("GARAGE_DEFAULT_SECRET_KEY", SECRET_ACCESS_KEY)
                .env("GARAGE_DEFAULT_BUCKET", BUCKET)
                .env("RUST_LOG", "garage=info,netapp=info")
                .arg("--config")
                .arg(&config)
                .args(["server", "--single-node", "--default-bucket"]);
        })?;
        // The log speaks of listening just before it is true.
        process.wait_for(|log| {
            let listens = log.contains("S3 API server listening on") && TcpStream::connect(address).is_ok();
            listens.then_some(())
        })?;
        Ok(S3 {
            _process: process,
            address,
        })
    })
}

fn garage_configuration(directory: &Path, api: SocketAddr, rpc: u16) -> String {
    let directory = directory.display();
    // Nobody else has a part in this cluster: its secret keeps nothing secret.
    let rpc_secret = "0".repeat(64);
    format!(
        r#"
metadata_dir = "{directory}/metadata"
data_dir = "{directory}/data"
db_engine = "lmdb"
replication_factor = 1
disable_scrub = true
rpc_bind_addr = "127.0.0.1:{rpc}"
rpc_public_addr = "127.0.0.1:{rpc}"
rpc_secret = "{rpc_secret}"

[s3_api]
api_bind_addr = "{api}"
s3_region = "{REGION}"
"#
    )
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

//! An S3-compatible server on loopback that checks signatures: s3s-fs, or Garage.

mod garage;
mod s3s;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use xshell::Shell;

use super::process::Process;

/// The bucket, which is there from the start.
pub(crate) const BUCKET: &str = "layers";
/// Not the region that clients fall back to, so that one that was not told is noticed: Garage checks it.
pub(crate) const REGION: &str = "test-1";
/// The format is Garage's; the other takes any.
pub(crate) const ACCESS_KEY_ID: &str = "GK6c6179657263616368652d73";
pub(crate) const SECRET_ACCESS_KEY: &str = "6e6f626f647920627574207465737473206d6179206b6e6f7720746869732030";

/// Which server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum S3Kind {
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
            S3Kind::S3s => s3s::start(sh, directory),
            S3Kind::Garage => garage::start(sh, directory),
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

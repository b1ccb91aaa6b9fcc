//! containerd, as the measure for pulling a whole image.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::servers::process::Process;

/// A running containerd with nothing in it. Its snapshotter is overlayfs, so it wants root.
#[derive(Debug)]
pub(super) struct Containerd {
    _process: Process,
    socket: PathBuf,
}

impl Containerd {
    /// Starts one that keeps everything in `directory`.
    pub(super) fn start(directory: &Path) -> Result<Self> {
        let socket = directory.join("socket");
        let mut process = Process::start(directory, Path::new("containerd"), |command| {
            command.arg("--address").arg(&socket);
            command.arg("--root").arg(directory.join("root"));
            command.arg("--state").arg(directory.join("state"));
            command.args(["--log-level", "info"]);
        })?;
        process.wait_for(|log| log.contains("containerd successfully booted").then_some(()))?;
        Ok(Self {
            _process: process,
            socket,
        })
    }

    /// The line of the shell that pulls an image of a registry without TLS.
    pub(super) fn pull(&self, image: &str) -> String {
        let socket = self.socket.display();
        format!("ctr --address {socket} images pull --plain-http --snapshotter overlayfs {image}")
    }
}

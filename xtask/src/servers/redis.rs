//! Redis on loopback, without persistence: alone, as a cluster, or behind TLS and a password.

mod cluster;
mod tls;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use xshell::Shell;

use super::ports;
use super::process::Process;
use super::{PASSWORD, USER};

/// Where the Debian package has it.
pub(crate) const SERVER: &str = "/usr/bin/redis-server";

/// All the servers.
#[derive(Debug)]
pub(crate) struct Redis {
    alone: Node,
    cluster: Vec<Node<2>>,
    tls: Node,
    ca: PathBuf,
}

/// One server, and the ports it was started with; clients use the first.
#[derive(Debug)]
struct Node<const PORTS: usize = 1> {
    _process: Process,
    ports: [u16; PORTS],
}

impl Redis {
    /// Starts the servers, which have their directories in `directory`.
    pub(crate) fn start(sh: &Shell, directory: &Path) -> Result<Self> {
        // Enough for all tests together, and what is evicted must be a miss.
        let bounded = "maxmemory 2gb\nmaxmemory-policy allkeys-lru\n";
        let alone = Node::start(&directory.join("alone"), |[port]| {
            format!("port {port}\n{bounded}")
        })?;
        let tls = tls::Certificate::create(sh, &directory.join("certificates"))?;
        Ok(Self {
            alone,
            cluster: cluster::start(directory)?,
            ca: tls.authority().to_owned(),
            tls: Node::start(&directory.join("tls"), |[port]| {
                format!("port 0\ntls-port {port}\n{}", tls.configuration())
            })?,
        })
    }

    /// The URL of the server that is alone, open to all.
    pub(crate) fn alone(&self) -> String {
        self.alone.url()
    }

    /// The URLs of the cluster's nodes, divided by commas.
    pub(crate) fn cluster(&self) -> String {
        let urls: Vec<String> = self.cluster.iter().map(Node::url).collect();
        urls.join(",")
    }

    /// The URL of the server behind TLS, with the user and the password it wants.
    pub(crate) fn tls(&self) -> String {
        let password = PASSWORD.replace(':', "%3A");
        format!("rediss://{USER}:{password}@localhost:{}", self.tls.port())
    }

    /// The certificate of the authority that signed the certificate of the server behind TLS (PEM).
    pub(crate) fn ca(&self) -> &Path {
        &self.ca
    }
}

impl<const PORTS: usize> Node<PORTS> {
    /// Starts a server. `configure` makes a configuration for free ports.
    fn start(directory: &Path, configure: impl Fn([u16; PORTS]) -> String) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let file = directory.join("redis.conf");
        ports::start_on(|ports| {
            let common = format!(
                "bind 127.0.0.1\ndir \"{}\"\nsave \"\"\nappendonly no\n",
                directory.display()
            );
            // In a file, for arguments are for every user of the machine to see.
            fs::write(&file, common + &configure(ports))?;
            let mut process = Process::start(directory, Path::new(SERVER), |command| {
                command.arg(&file);
            })?;
            process.wait_for(|log| log.contains("Ready to accept connections").then_some(()))?;
            Ok(Self {
                _process: process,
                ports,
            })
        })
    }

    fn port(&self) -> u16 {
        self.ports[0]
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }
}

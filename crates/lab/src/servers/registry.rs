//! docker-registry on loopback, with one way to authenticate.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use super::process::Process;

/// How clients prove who they are.
#[derive(Debug)]
pub(crate) enum Access {
    /// Not at all.
    Open,
    /// A user and a password that the file at this path knows (bcrypt, as `htpasswd -B` writes it).
    Basic(PathBuf),
    /// A token that the server at `realm` signed with the key of `certificate`.
    Token {
        realm: String,
        service: String,
        issuer: String,
        certificate: PathBuf,
    },
}

/// A running docker-registry.
#[derive(Debug)]
pub(crate) struct Registry {
    _process: Process,
    address: SocketAddr,
}

impl Registry {
    /// Starts a registry that keeps its blobs in `storage`, and its configuration and log in `directory`.
    pub(crate) fn start(directory: &Path, storage: &Path, access: &Access) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let config = directory.join("config.yml");
        fs::write(&config, configuration(storage, access))?;
        let mut process = Process::start(directory, Path::new("docker-registry"), |command| {
            command.arg("serve").arg(&config);
        })?;
        // The system chooses the port, and the log tells it: a port that we chose could be taken before the
        // registry has it. The line appears once the registry listens.
        let address = process.wait_for(listening_on)?;
        Ok(Self {
            _process: process,
            address,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The registry reads YAML, of which JSON is a part.
fn configuration(storage: &Path, access: &Access) -> String {
    let mut config = json!({
        "version": 0.1,
        "log": { "level": "info", "accesslog": { "disabled": true } },
        "storage": { "filesystem": { "rootdirectory": storage }, "delete": { "enabled": true } },
        "http": { "addr": "127.0.0.1:0" },
    });
    match access {
        Access::Open => {}
        Access::Basic(path) => {
            config["auth"] = json!({ "htpasswd": { "realm": "layercache tests", "path": path } })
        }
        Access::Token {
            realm,
            service,
            issuer,
            certificate,
        } => {
            config["auth"] = json!({
                "token": { "realm": realm, "service": service, "issuer": issuer, "rootcertbundle": certificate },
            });
        }
    }
    config.to_string()
}

fn listening_on(log: &str) -> Option<SocketAddr> {
    let rest = log.split("listening on ").nth(1)?;
    rest.split_once(['"', ',', ' ', '\n'])?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::listening_on;

    #[test]
    fn the_address_is_read_from_a_whole_line_only() {
        let line = "time=\"2026-01-01T00:00:00Z\" level=info msg=\"listening on 127.0.0.1:4242\" go.version=go1.19.8\n";
        assert_eq!(listening_on(line), Some(([127, 0, 0, 1], 4242).into()));
        assert_eq!(listening_on(&line[..line.find("42\"").unwrap()]), None);
    }
}

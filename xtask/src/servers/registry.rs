//! docker-registry on loopback, with one way to authenticate.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

const START_WITHIN: Duration = Duration::from_secs(30);

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

/// A running docker-registry. Dropping it kills it; so does the end of this process, however it comes.
#[derive(Debug)]
pub(crate) struct Registry {
    process: Child,
    address: SocketAddr,
}

impl Registry {
    /// Starts a registry that keeps its blobs in `storage`, and its configuration and log in `directory`.
    pub(crate) fn start(directory: &Path, storage: &Path, access: &Access) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let (config, log) = (directory.join("config.yml"), directory.join("log"));
        fs::write(&config, configuration(storage, access))?;
        // The kernel kills the registry when the thread that starts it ends, even by SIGKILL.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("cannot start docker-registry through setpriv")?;
        let mut registry = Self {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        registry.address = registry.wait_for_address(&log)?;
        Ok(registry)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The system chooses the port, and the log tells it: a port that we chose could be taken before the
    /// registry has it. The line appears once the registry listens.
    fn wait_for_address(&mut self, log: &Path) -> Result<SocketAddr> {
        let deadline = Instant::now() + START_WITHIN;
        loop {
            let text = fs::read_to_string(log)?;
            if let Some(address) = listening_on(&text) {
                return Ok(address);
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("docker-registry ended at once ({status}):\n{text}");
            }
            if Instant::now() > deadline {
                bail!(
                    "docker-registry does not listen after {} s:\n{text}",
                    START_WITHIN.as_secs()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Both fail only when the process is gone, which is what is wanted.
        let _: io::Result<()> = self.process.kill();
        let _: io::Result<_> = self.process.wait();
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

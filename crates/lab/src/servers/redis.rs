//! Redis on loopback, without persistence: alone, as a cluster, or behind TLS and a password.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use xshell::{Shell, cmd};

use super::process::{Process, start_on};
use super::{PASSWORD, USER};

/// Where the Debian package has it.
pub(crate) const SERVER: &str = "/usr/bin/redis-server";

/// Masters of the cluster.
const NODES: usize = 3;
const AGREE_WITHIN: Duration = Duration::from_secs(30);

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
        let tls = Certificate::create(sh, &directory.join("certificates"))?;
        Ok(Self {
            alone,
            cluster: start_cluster(directory)?,
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
        start_on(|ports| {
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

/// Starts masters that share the keys, and waits until each of them knows that the cluster is complete.
///
/// Each has a second port, of the bus where nodes speak to each other: by default it is 10000 above
/// the first, where another server may be, or no port at all.
fn start_cluster(directory: &Path) -> Result<Vec<Node<2>>> {
    let nodes = (0..NODES)
        .map(|number| {
            Node::start(&directory.join(format!("node-{number}")), |[port, bus]| {
                format!(
                    "port {port}\ncluster-enabled yes\ncluster-port {bus}\ncluster-config-file nodes.conf\n"
                )
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let addresses = nodes.iter().map(|node| {
        let [port, bus] = node.ports;
        format!("127.0.0.1:{port}@{bus}")
    });
    let addresses: Vec<String> = addresses.collect();
    let mut create = vec!["--cluster", "create"];
    create.extend(addresses.iter().map(String::as_str));
    create.push("--cluster-yes");
    redis_cli(&create)?;

    let deadline = Instant::now() + AGREE_WITHIN;
    for node in &nodes {
        while !redis_cli(&["-p", &node.port().to_string(), "cluster", "info"])?.contains("cluster_state:ok") {
            ensure!(Instant::now() < deadline, "the nodes do not become a cluster");
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(nodes)
}

fn redis_cli(arguments: &[&str]) -> Result<String> {
    let output = Command::new("timeout")
        .args(["30", "redis-cli"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("cannot start redis-cli")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "redis-cli {}: {text}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// The certificate of a server, and the authority that signed it. openssl makes both.
#[derive(Debug)]
struct Certificate {
    authority: PathBuf,
    certificate: PathBuf,
    private: PathBuf,
}

impl Certificate {
    /// Makes both, for the names of servers on loopback.
    fn create(sh: &Shell, directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let path = |name: &str| directory.join(name);
        let (authority, authority_key) = (path("ca.crt"), path("ca.key"));
        let (certificate, private, request) = (path("server.crt"), path("server.key"), path("server.csr"));
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"];
        let run = |command: xshell::Cmd<'_>| {
            let made = command.quiet().ignore_stdout().ignore_stderr().run();
            made.context("openssl cannot make a certificate")
        };
        run(cmd!(
            sh,
            "openssl req -x509 {key...} -days 30 -subj /CN=layercache-test-ca
             -keyout {authority_key} -out {authority}"
        ))?;
        run(cmd!(
            sh,
            "openssl req {key...} -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1,DNS:localhost
             -addext basicConstraints=CA:FALSE -keyout {private} -out {request}"
        ))?;
        run(cmd!(
            sh,
            "openssl x509 -req -in {request} -CA {authority} -CAkey {authority_key} -CAcreateserial
             -copy_extensions copy -days 30 -out {certificate}"
        ))?;
        Ok(Self {
            authority,
            certificate,
            private,
        })
    }

    /// The certificate of the authority (PEM).
    fn authority(&self) -> &Path {
        &self.authority
    }

    /// Returns the configuration of a Redis that uses the certificate and lets in the one user alone.
    fn configuration(&self) -> String {
        let (certificate, private) = (self.certificate.display(), self.private.display());
        let authority = self.authority.display();
        format!(
            "tls-cert-file \"{certificate}\"\ntls-key-file \"{private}\"\ntls-ca-cert-file \"{authority}\"\n\
             tls-auth-clients no\n\
             user default off\nuser {USER} on \">{PASSWORD}\" ~* &* +@all\n"
        )
    }
}

//! Three masters that share the keys.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::Node;

const NODES: usize = 3;
const AGREE_WITHIN: Duration = Duration::from_secs(30);

/// Starts the nodes, makes them a cluster, and waits until each of them knows that it is complete.
///
/// Each has a second port, of the bus where nodes speak to each other: by default it is 10000 above the first, where
/// another server may be, or no port at all.
pub(super) fn start(directory: &Path) -> Result<Vec<Node<2>>> {
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

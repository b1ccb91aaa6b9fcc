//! Garage, with one node and one bucket.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;

use anyhow::Result;
use xshell::Shell;

use super::{ACCESS_KEY_ID, BUCKET, REGION, S3, SECRET_ACCESS_KEY};
use crate::servers::ports;
use crate::servers::process::Process;
use crate::tools;

pub(super) fn start(sh: &Shell, directory: &Path) -> Result<S3> {
    let binary = tools::ensure(sh, tools::GARAGE)?;
    fs::create_dir_all(directory)?;
    let config = directory.join("garage.toml");
    ports::start_on(|[api, rpc]| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, api));
        fs::write(&config, configuration(directory, address, rpc))?;
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

fn configuration(directory: &Path, api: SocketAddr, rpc: u16) -> String {
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

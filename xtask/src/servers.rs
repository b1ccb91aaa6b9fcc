//! The real servers of the tests: docker-registry three times over the same images, a token server, Redis in several
//! ways, and an S3-compatible server.

mod directory;
mod ports;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod registry;
pub(crate) mod s3;
mod token;

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use xshell::{Shell, cmd};

use crate::servers::directory::RunDirectory;
use crate::servers::redis::Redis;
use crate::servers::registry::{Access, Registry};
use crate::servers::s3::{S3, S3Kind};
use crate::{apt, dirs, environment, images, promtool};

/// The one user of the registries that want to know who asks.
pub(crate) const USER: &str = "layercache";
/// The user's password. The colon is legal, and divides users from passwords for who parses carelessly.
pub(crate) const PASSWORD: &str = "open:sesame";

const PACKAGES: &[&str] = &["docker-registry", "apache2-utils", "openssl", "redis-server"];

/// The running servers, each on a port of loopback that the system chose. Dropping this stops them.
#[derive(Debug)]
pub(crate) struct Servers {
    open: Registry,
    basic: Registry,
    token: Registry,
    redis: Redis,
    s3: S3,
    /// Runs the token server.
    runtime: Runtime,
    /// Configuration, logs and storage of the servers. Declared last: removed when nothing writes there any more.
    _directory: RunDirectory,
}

impl Servers {
    /// Starts the servers with the images in the directory `images`, and S3 of the kind `s3`.
    pub(crate) fn start(sh: &Shell, images: &Path, s3: S3Kind) -> Result<Self> {
        apt::ensure(sh, PACKAGES)?;
        // Beside the images, since the storages link to their blobs.
        let directory = RunDirectory::create(&dirs::target(sh)?.join("servers"))?;
        let path = directory.path();
        let storage =
            |name: &str| link_storage(sh, &images.join("registry"), &path.join(name).join("storage"));

        let open = Registry::start(&path.join("open"), &storage("open")?, &Access::Open)?;

        let basic = Access::Basic(write_htpasswd(path)?);
        let basic = Registry::start(&path.join("basic"), &storage("basic")?, &basic)?;

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let key = token::Key::create(sh, path)?;
        let certificate = key.certificate().to_owned();
        let realm = format!("http://{}/token", runtime.block_on(token::start(key))?);
        let (service, issuer) = (token::SERVICE.to_owned(), token::ISSUER.to_owned());
        let token = Access::Token {
            realm,
            service,
            issuer,
            certificate,
        };
        let token = Registry::start(&path.join("token"), &storage("token")?, &token)?;

        Ok(Self {
            open,
            basic,
            token,
            redis: Redis::start(sh, &path.join("redis"))?,
            s3: S3::start(sh, &path.join("s3"), s3)?,
            runtime,
            _directory: directory,
        })
    }

    pub(crate) fn open(&self) -> SocketAddr {
        self.open.address()
    }

    pub(crate) fn basic(&self) -> SocketAddr {
        self.basic.address()
    }

    pub(crate) fn token(&self) -> SocketAddr {
        self.token.address()
    }

    pub(crate) fn redis(&self) -> &Redis {
        &self.redis
    }

    pub(crate) fn s3(&self) -> &S3 {
        &self.s3
    }

    fn wait_for_signal(&self) -> Result<()> {
        self.runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
                _ = terminate.recv() => Ok(()),
            }
        })
    }
}

/// `cargo xtask serve`
pub(crate) fn serve(sh: &Shell, s3: S3Kind) -> Result<()> {
    let images = images::ensure(sh)?;
    let servers = Servers::start(sh, &images, s3)?;
    let promtool = (environment::PROMTOOL, promtool::ensure(sh)?.into());
    for (name, value) in environment::of(&servers, &images).into_iter().chain([promtool]) {
        println!("export {name}='{}'", value.to_string_lossy());
    }
    eprintln!("the servers run until ctrl-c");
    servers.wait_for_signal()
}

/// Gives a registry a storage of its own, so that what one test pushes or deletes is seen by no other registry and not
/// by the next run. Blobs are linked, for a registry creates and removes them but never rewrites one; the small rest,
/// which it does rewrite, is copied.
fn link_storage(sh: &Shell, from: &Path, to: &Path) -> Result<PathBuf> {
    let (from, into) = (from.join("docker/registry/v2"), to.join("docker/registry/v2"));
    fs::create_dir_all(&into)?;
    cmd!(sh, "cp --recursive --link {from}/blobs {into}/blobs")
        .quiet()
        .run()?;
    cmd!(sh, "cp --recursive {from}/repositories {into}/repositories")
        .quiet()
        .run()?;
    Ok(to.to_owned())
}

fn write_htpasswd(directory: &Path) -> Result<PathBuf> {
    let path = directory.join("htpasswd");
    // The password goes through standard input: arguments are for every user of the machine to see.
    let mut htpasswd = Command::new("htpasswd")
        .args(["-c", "-B", "-i"])
        .arg(&path)
        .arg(USER)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start htpasswd")?;
    htpasswd
        .stdin
        .take()
        .context("htpasswd has no standard input")?
        .write_all(PASSWORD.as_bytes())?;
    ensure!(htpasswd.wait()?.success(), "htpasswd failed");
    Ok(path)
}

//! The real servers of the tests: docker-registry three times over the same images, a token server,
//! Redis in several ways, and an S3-compatible server.

mod directory;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod registry;
pub mod s3;
mod token;

use std::ffi::OsString;
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
use crate::{apt, dirs};

/// The one user of the registries that authenticate.
pub(crate) const USER: &str = "layercache";
/// The user's password. The colon is legal, and misleads a careless parser of `USER:PASSWORD`.
pub(crate) const PASSWORD: &str = "open:sesame";

const PACKAGES: &[&str] = &["docker-registry", "apache2-utils", "openssl", "redis-server"];

/// The running servers, each on a port of loopback that the system chose. Dropping this stops them.
#[derive(Debug)]
pub struct Servers {
    images: PathBuf,
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
    ///
    /// # Errors
    ///
    /// If a package is missing and cannot be installed, or a server does not start.
    pub fn start(sh: &Shell, images: &Path, s3: S3Kind) -> Result<Self> {
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
            images: images.to_owned(),
            open,
            basic,
            token,
            redis: Redis::start(sh, &path.join("redis"))?,
            s3: S3::start(sh, &path.join("s3"), s3)?,
            runtime,
            _directory: directory,
        })
    }

    /// Returns the environment of tests that use these servers and the images.
    ///
    /// Every name begins with `LAYERCACHE_TEST_`:
    ///
    /// | variable | value |
    /// |---|---|
    /// | `IMAGES` | directory of the image fixtures: see [`images`](crate::images) |
    /// | `REGISTRY` | `127.0.0.1:PORT` of a registry open to all |
    /// | `REGISTRY_BASIC` | of a registry with basic authentication |
    /// | `REGISTRY_TOKEN` | of a registry with tokens, which are good for 10 s |
    /// | `USER`, `PASSWORD` | the one user of the registries that authenticate |
    /// | `REDIS` | `redis://127.0.0.1:PORT` of a Redis open to all; it evicts (LRU) above 2 GB |
    /// | `REDIS_CLUSTER` | such URLs of three masters that are a cluster, divided by commas |
    /// | `REDIS_TLS` | `rediss://USER:PASSWORD@localhost:PORT` of a Redis for that user alone |
    /// | `REDIS_CA` | path of the certificate (PEM) of the authority behind `REDIS_TLS` |
    /// | `REDIS_SERVER` | path of redis-server, for tests that start one to kill or stall it |
    /// | `S3_ENDPOINT` | `http://127.0.0.1:PORT` of s3s-fs or Garage; path style |
    /// | `S3_BUCKET`, `S3_REGION` | the bucket, which is there and empty, and its region |
    /// | `S3_ACCESS_KEY_ID`, `S3_SECRET_ACCESS_KEY` | the key that may use the bucket |
    ///
    /// All registries speak plain HTTP and hold the repository `debian` with the tags of
    /// [`TAGS`](crate::images::TAGS). They allow pushing and deleting, which no other registry and no
    /// later run sees. Redis and S3 persist nothing beyond a run, and all tests of a run share them:
    /// each test uses names of its own.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LAYERCACHE_TEST_IMAGES", self.images.as_os_str().into()),
            ("LAYERCACHE_TEST_REGISTRY", self.open.address().to_string().into()),
            (
                "LAYERCACHE_TEST_REGISTRY_BASIC",
                self.basic.address().to_string().into(),
            ),
            (
                "LAYERCACHE_TEST_REGISTRY_TOKEN",
                self.token.address().to_string().into(),
            ),
            ("LAYERCACHE_TEST_USER", USER.into()),
            ("LAYERCACHE_TEST_PASSWORD", PASSWORD.into()),
            ("LAYERCACHE_TEST_REDIS", self.redis.alone().into()),
            ("LAYERCACHE_TEST_REDIS_CLUSTER", self.redis.cluster().into()),
            ("LAYERCACHE_TEST_REDIS_TLS", self.redis.tls().into()),
            ("LAYERCACHE_TEST_REDIS_CA", self.redis.ca().into()),
            ("LAYERCACHE_TEST_REDIS_SERVER", redis::SERVER.into()),
            ("LAYERCACHE_TEST_S3_ENDPOINT", self.s3.endpoint().into()),
            ("LAYERCACHE_TEST_S3_BUCKET", s3::BUCKET.into()),
            ("LAYERCACHE_TEST_S3_REGION", s3::REGION.into()),
            ("LAYERCACHE_TEST_S3_ACCESS_KEY_ID", s3::ACCESS_KEY_ID.into()),
            (
                "LAYERCACHE_TEST_S3_SECRET_ACCESS_KEY",
                s3::SECRET_ACCESS_KEY.into(),
            ),
        ]
    }

    pub(crate) fn open(&self) -> SocketAddr {
        self.open.address()
    }

    pub(crate) fn redis(&self) -> &Redis {
        &self.redis
    }

    pub(crate) fn s3(&self) -> &S3 {
        &self.s3
    }

    /// Returns when this process is asked to end.
    ///
    /// # Errors
    ///
    /// If signals cannot be listened to.
    pub fn wait_for_signal(&self) -> Result<()> {
        self.runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
                _ = terminate.recv() => Ok(()),
            }
        })
    }
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

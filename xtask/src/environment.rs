//! What the tests are told through their environment.
//!
//! | variable | value |
//! |---|---|
//! | `LAYERCACHE_TEST_IMAGES` | directory of the image fixtures: see `images.rs` |
//! | `LAYERCACHE_TEST_REGISTRY` | `127.0.0.1:PORT` of a registry open to all |
//! | `LAYERCACHE_TEST_REGISTRY_BASIC` | of a registry with basic authentication |
//! | `LAYERCACHE_TEST_REGISTRY_TOKEN` | of a registry with tokens, which are good for 10 s |
//! | `LAYERCACHE_TEST_USER`, `LAYERCACHE_TEST_PASSWORD` | what the latter two ask for |
//! | `LAYERCACHE_TEST_REDIS` | `redis://127.0.0.1:PORT` of a Redis open to all, which evicts (LRU) above 2 GB |
//! | `LAYERCACHE_TEST_REDIS_CLUSTER` | such URLs of three masters that are a cluster, divided by commas |
//! | `LAYERCACHE_TEST_REDIS_TLS` | `rediss://USER:PASSWORD@localhost:PORT` of a Redis for that user alone; percent-encoded |
//! | `LAYERCACHE_TEST_REDIS_CA` | path of the certificate (PEM) that signed that of the latter |
//! | `LAYERCACHE_TEST_REDIS_SERVER` | path of redis-server, for tests that start their own to kill or stall it |
//! | `LAYERCACHE_TEST_S3_ENDPOINT` | `http://127.0.0.1:PORT` of s3s-fs, or of Garage with `--garage`; path style |
//! | `LAYERCACHE_TEST_S3_BUCKET`, `LAYERCACHE_TEST_S3_REGION` | the bucket, which is there and empty, and its region |
//! | `LAYERCACHE_TEST_S3_ACCESS_KEY_ID`, `LAYERCACHE_TEST_S3_SECRET_ACCESS_KEY` | who may use the bucket |
//! | `LAYERCACHE_TEST_PROMTOOL` | path of promtool; from `cargo xtask test` and `serve` |
//! | `LAYERCACHE_TEST_BIN` | the binary `layercache`, optimised; from `cargo xtask test` only |
//!
//! All registries speak plain HTTP, hold the repository `debian` with the tags `gzip`, `zstd`, `plain`, `multi` and
//! `small`, and allow pushing and deleting, which no other registry and no later run sees.
//! Redis and S3 persist nothing beyond a run, and are shared by all tests of one: each is to use names of its own.

use std::ffi::OsString;
use std::path::Path;

use crate::servers::{PASSWORD, Servers, USER, redis, s3};

/// The variable that names the binary under test.
pub(crate) const BIN: &str = "LAYERCACHE_TEST_BIN";

/// The variable that names promtool.
pub(crate) const PROMTOOL: &str = "LAYERCACHE_TEST_PROMTOOL";

/// The environment of tests that use `servers` and the images in the directory `images`.
pub(crate) fn of(servers: &Servers, images: &Path) -> Vec<(&'static str, OsString)> {
    vec![
        ("LAYERCACHE_TEST_IMAGES", images.into()),
        ("LAYERCACHE_TEST_REGISTRY", servers.open().to_string().into()),
        (
            "LAYERCACHE_TEST_REGISTRY_BASIC",
            servers.basic().to_string().into(),
        ),
        (
            "LAYERCACHE_TEST_REGISTRY_TOKEN",
            servers.token().to_string().into(),
        ),
        ("LAYERCACHE_TEST_USER", USER.into()),
        ("LAYERCACHE_TEST_PASSWORD", PASSWORD.into()),
        ("LAYERCACHE_TEST_REDIS", servers.redis().alone().into()),
        ("LAYERCACHE_TEST_REDIS_CLUSTER", servers.redis().cluster().into()),
        ("LAYERCACHE_TEST_REDIS_TLS", servers.redis().tls().into()),
        ("LAYERCACHE_TEST_REDIS_CA", servers.redis().ca().into()),
        ("LAYERCACHE_TEST_REDIS_SERVER", redis::SERVER.into()),
        ("LAYERCACHE_TEST_S3_ENDPOINT", servers.s3().endpoint().into()),
        ("LAYERCACHE_TEST_S3_BUCKET", s3::BUCKET.into()),
        ("LAYERCACHE_TEST_S3_REGION", s3::REGION.into()),
        ("LAYERCACHE_TEST_S3_ACCESS_KEY_ID", s3::ACCESS_KEY_ID.into()),
        (
            "LAYERCACHE_TEST_S3_SECRET_ACCESS_KEY",
            s3::SECRET_ACCESS_KEY.into(),
        ),
    ]
}

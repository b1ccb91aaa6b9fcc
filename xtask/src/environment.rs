//! What the tests are told through their environment.
//!
//! | variable | value |
//! |---|---|
//! | `LAYERCACHE_TEST_IMAGES` | directory of the image fixtures: see `images.rs` |
//! | `LAYERCACHE_TEST_REGISTRY` | `127.0.0.1:PORT` of a registry open to all |
//! | `LAYERCACHE_TEST_REGISTRY_BASIC` | of a registry with basic authentication |
//! | `LAYERCACHE_TEST_REGISTRY_TOKEN` | of a registry with tokens, which are good for 10 s |
//! | `LAYERCACHE_TEST_USER`, `LAYERCACHE_TEST_PASSWORD` | what the latter two ask for |
//! | `LAYERCACHE_TEST_BIN` | the binary `layercache`, release build; from `cargo xtask test` only |
//!
//! All registries speak plain HTTP, hold the repository `debian` with the tags `gzip`, `zstd`, `plain`, `multi` and
//! `small`, and allow pushing and deleting, which no other registry and no later run sees.

use std::ffi::OsString;
use std::path::Path;

use crate::servers::{PASSWORD, Servers, USER};

/// The variable that names the binary under test.
pub(crate) const BIN: &str = "LAYERCACHE_TEST_BIN";

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
    ]
}

//! What `cargo xtask test` provides: the binary under test, image fixtures and registries.

use std::path::PathBuf;

/// A test that is not provided for fails, since one that is passed over proves nothing.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask test`"))
}

/// The optimised build of `layercache`.
pub(crate) fn binary() -> PathBuf {
    variable("LAYERCACHE_TEST_BIN").into()
}

/// promtool, by which Prometheus says what it takes.
pub(crate) fn promtool() -> PathBuf {
    variable("LAYERCACHE_TEST_PROMTOOL").into()
}

/// A file or directory of the image fixtures.
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(variable("LAYERCACHE_TEST_IMAGES")).join(name)
}

/// `HOST:PORT` of the registry that is open to all.
pub(crate) fn open_registry() -> String {
    variable("LAYERCACHE_TEST_REGISTRY")
}

/// A tag of the image `debian` in the registry that is open to all.
pub(crate) fn debian(tag: &str) -> String {
    format!("{}/debian:{tag}", open_registry())
}

/// `HOST:PORT` of the registry with basic authentication.
pub(crate) fn basic_registry() -> String {
    variable("LAYERCACHE_TEST_REGISTRY_BASIC")
}

/// `HOST:PORT` of the registry with tokens.
pub(crate) fn token_registry() -> String {
    variable("LAYERCACHE_TEST_REGISTRY_TOKEN")
}

/// The user whom the latter two let in, and the password.
pub(crate) fn login() -> (String, String) {
    (
        variable("LAYERCACHE_TEST_USER"),
        variable("LAYERCACHE_TEST_PASSWORD"),
    )
}

/// The URLs of the nodes of a Redis Cluster, with commas between.
pub(crate) fn redis_cluster() -> String {
    variable("LAYERCACHE_TEST_REDIS_CLUSTER")
}

/// The S3 of the tests.
pub(crate) struct S3 {
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    pub(crate) region: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

/// What may be known of the bucket of the tests.
pub(crate) fn s3() -> S3 {
    S3 {
        endpoint: variable("LAYERCACHE_TEST_S3_ENDPOINT"),
        bucket: variable("LAYERCACHE_TEST_S3_BUCKET"),
        region: variable("LAYERCACHE_TEST_S3_REGION"),
        access_key_id: variable("LAYERCACHE_TEST_S3_ACCESS_KEY_ID"),
        secret_access_key: variable("LAYERCACHE_TEST_S3_SECRET_ACCESS_KEY"),
    }
}

//! How to talk to registries.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::location::REGISTRY;

/// Settings of a [`RegistryOrigin`](super::RegistryOrigin). All waits and counts are bounded by them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistryConfig {
    /// The origin's name in errors and figures: `registry` unless set.
    pub name: String,
    /// Hosts, written as in a reference (`registry.example:5000`), that are talked to over plain HTTP. Loopback hosts
    /// (`localhost`, `127.0.0.0/8`, `[::1]`) always are, as with Docker; for TLS on loopback, name it as a mirror of itself.
    pub plain_http_hosts: Vec<String>,
    /// Talk to every registry over plain HTTP. Credentials are then sent in the clear.
    pub plain_http: bool,
    /// Base URLs tried in order in front of a host: `docker.io` to `["https://mirror.example/docker-hub"]`. The path of a
    /// base URL goes in front of the repository. A mirror is tried once per request; what it refuses or lacks, the next one
    /// and at last the host is asked for.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Limit on connecting, TLS included.
    pub connect_timeout: Duration,
    /// Limit on waiting for an answer to begin, and then for each next piece of it.
    pub idle_timeout: Duration,
    /// Limit on a manifest, config or token from its request to its last byte.
    pub document_timeout: Duration,
    /// Limit on waiting until a host has fewer than [`max_requests_per_host`](Self::max_requests_per_host) requests.
    pub queue_timeout: Duration,
    /// Requests per host at once. A blob counts until its last byte.
    pub max_requests_per_host: usize,
    /// How often a request is repeated after a time-out, a cut connection, 408, 429 or 5xx; and how many attempts in a row to
    /// go on with a blob may yield nothing new.
    pub max_retries: u32,
    /// How many interruptions of one blob are survived in all, so that a registry that cuts every connection cannot keep a
    /// download going for ever.
    pub max_resumes: u32,
    /// Longest wait before the first repetition; doubled for each next one. The wait is a random one from half of it up.
    pub backoff: Duration,
    /// Where the doubling ends.
    pub max_backoff: Duration,
    /// Longest wait that a registry can ask for with `Retry-After`.
    pub max_retry_after: Duration,
    /// The `User-Agent` header.
    pub user_agent: String,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            name: REGISTRY.to_owned(),
            plain_http_hosts: Vec::new(),
            plain_http: false,
            mirrors: BTreeMap::new(),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            document_timeout: Duration::from_secs(60),
            queue_timeout: Duration::from_secs(600),
            max_requests_per_host: 6,
            max_retries: 5,
            max_resumes: 64,
            backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(10),
            max_retry_after: Duration::from_secs(60),
            user_agent: concat!("layercache/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

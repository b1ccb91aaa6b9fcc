//! How a Redis tier is set up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::index::Seal;

use crate::server_urls::ServerUrls;

/// What the longest layer is unless set: 4 GiB.
const DEFAULT_MAX_LAYER_BYTES: u64 = 4 << 30;
/// How long a request may take unless set.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a lease lasts unless set.
const DEFAULT_LEASE_LIFETIME: Duration = Duration::from_secs(10);

/// The settings of a [`RedisTier`](crate::RedisTier). All workers that share a store should agree on them, and must on the
/// [seal](Self::with_seal).
///
/// ```
/// # use std::time::Duration;
/// # use cache_remote_redis::RedisConfig;
/// let config = RedisConfig::new(["rediss://worker:secret@redis.example:6380"])
///     .with_ttl(Some(Duration::from_secs(7 * 24 * 3600)));
/// assert!(!format!("{config:?}").contains("secret"));
/// ```
#[derive(Clone)]
pub struct RedisConfig {
    /// See [`new`](Self::new). They may hold passwords.
    pub urls: Vec<String>,
    pub(crate) current_urls: Option<Arc<dyn ServerUrls>>,
    pub(crate) name: String,
    /// See [`with_ttl`](Self::with_ttl).
    pub ttl: Option<Duration>,
    /// See [`with_max_layer_bytes`](Self::with_max_layer_bytes).
    pub max_layer_bytes: u64,
    pub(crate) seal: Seal,
    /// See [`with_timeout`](Self::with_timeout).
    pub timeout: Duration,
    /// See [`with_ca_certificate`](Self::with_ca_certificate).
    pub ca_certificate: Option<Vec<u8>>,
    pub(crate) lease_lifetime: Duration,
}

impl RedisConfig {
    /// The defaults for the server at `urls`, or for the Redis Cluster when there are several: any of its nodes, which tell of the
    /// others. A URL is `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS.
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            current_urls: None,
            name: "redis".into(),
            ttl: None,
            max_layer_bytes: DEFAULT_MAX_LAYER_BYTES,
            seal: Seal::plain(),
            timeout: DEFAULT_TIMEOUT,
            ca_certificate: None,
            lease_lifetime: DEFAULT_LEASE_LIFETIME,
        }
    }

    /// The same with URLs that may change, as with a new password: asked for each new connection. Connections that are open stay.
    /// Whether one server is meant or a cluster cannot change.
    #[must_use]
    pub fn with_current_urls(mut self, urls: Arc<dyn ServerUrls>) -> Self {
        self.current_urls = Some(urls);
        self
    }

    /// The same with the tier's name in errors and metrics; `redis` unless set.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The same with the time after which Redis forgets a layer, counted from its commit; never unless set, which leaves
    /// it to the server's `maxmemory-policy`.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Option<Duration>) -> Self {
        self.ttl = ttl;
        self
    }

    /// The same with the length in bytes of the longest layer that is kept; 4 GiB unless set.
    #[must_use]
    pub fn with_max_layer_bytes(mut self, max_layer_bytes: u64) -> Self {
        self.max_layer_bytes = max_layer_bytes;
        self
    }

    /// The same with what makes indexes trustworthy; a [plain](Seal::plain) seal unless set.
    #[must_use]
    pub fn with_seal(mut self, seal: Seal) -> Self {
        self.seal = seal;
        self
    }

    /// The same with the time that one request may take, and that connecting may take; 2 seconds unless set. It has to
    /// suffice for a few megabytes.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same with the certificates (PEM) of the authorities that the server's certificate is checked against; those of the
    /// system unless set. Means nothing without TLS.
    #[must_use]
    pub fn with_ca_certificate(mut self, pem: Option<Vec<u8>>) -> Self {
        self.ca_certificate = pem;
        self
    }

    /// The same with how long a [lease](crate::RedisTier::leases) lasts unless it is renewed; 10 seconds unless set.
    #[must_use]
    pub fn with_lease_lifetime(mut self, lifetime: Duration) -> Self {
        self.lease_lifetime = lifetime;
        self
    }
}

impl RedisConfig {
    /// The URLs without credentials, to be shown.
    pub fn redacted_urls(&self) -> Vec<String> {
        self.urls.iter().map(|url| redacted(url)).collect()
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Destructured, so that a new field has to be thought of.
        let Self {
            urls: _,
            current_urls,
            name,
            ttl,
            max_layer_bytes,
            seal,
            timeout,
            ca_certificate,
            lease_lifetime,
        } = self;
        f.debug_struct("RedisConfig")
            .field("urls", &self.redacted_urls())
            .field("current_urls", current_urls)
            .field("name", name)
            .field("ttl", ttl)
            .field("max_layer_bytes", max_layer_bytes)
            .field("seal", seal)
            .field("timeout", timeout)
            .field("ca_certificate", &ca_certificate.as_ref().map(Vec::len))
            .field("lease_lifetime", lease_lifetime)
            .finish()
    }
}

/// A URL without its credentials, which a query may hold as well. What is no URL is not shown at all: any part of it may be a secret.
pub(crate) fn redacted(url: &str) -> String {
    let Some((scheme @ ("redis" | "rediss"), rest)) = url.split_once("://") else {
        return "<not a Redis URL>".into();
    };
    // A password may contain any character that was forgotten to be escaped: what follows the last `@` is the host.
    let (credentials, rest) = rest
        .rsplit_once('@')
        .map_or(("", rest), |(_, host)| ("***@", host));
    let host = rest.split(['?', '#']).next().unwrap_or_default();
    format!("{scheme}://{credentials}{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        for (url, shown) in [
            ("redis://host:6379/2", "redis://host:6379/2"),
            ("rediss://user:s3cret@host", "rediss://***@host"),
            ("redis://:s3cret@host/0", "redis://***@host/0"),
            ("redis://user:s3/cr#et@@host", "redis://***@host"),
            ("redis://host?password=s3cret", "redis://host"),
            ("s3cret", "<not a Redis URL>"),
            ("http://s3cret@host", "<not a Redis URL>"),
        ] {
            assert_eq!(redacted(url), shown);
            let config = RedisConfig::new([url]).with_ca_certificate(Some(b"s3cret".to_vec()));
            let debug = format!("{config:?}");
            assert!(!debug.contains("s3") && debug.contains(shown), "{debug}");
        }
    }
}

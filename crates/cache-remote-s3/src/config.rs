//! How an S3 tier is set up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::index::Seal;
use cache_core::{Error, Result};

use crate::key_pair::{KeyPair, KeyPairs};
use crate::upload::MAX_LAYER_BYTES;

/// The settings of an [`S3Tier`](crate::S3Tier). Its `Debug` shows no secret.
#[derive(Clone)]
pub struct S3Config {
    pub(crate) name: String,
    /// The bucket, which has to be there.
    pub bucket: String,
    /// See [`with_endpoint`](Self::with_endpoint).
    pub endpoint: Option<String>,
    /// See [`with_region`](Self::with_region).
    pub region: Option<String>,
    /// See [`with_prefix`](Self::with_prefix).
    pub prefix: String,
    /// See [`with_path_style`](Self::with_path_style).
    pub path_style: Option<bool>,
    /// See [`with_payload_signing`](Self::with_payload_signing).
    pub payload_signing: Option<bool>,
    pub(crate) credentials: Option<KeyPair>,
    pub(crate) key_pairs: Option<Arc<dyn KeyPairs>>,
    pub(crate) seal: Seal,
    /// See [`with_timeout`](Self::with_timeout).
    pub timeout: Duration,
    pub(crate) max_layer_bytes: u64,
}

impl S3Config {
    /// The defaults for `bucket`: a tier named `s3`, the endpoint, region and credentials that the environment tells.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            name: "s3".into(),
            bucket: bucket.into(),
            endpoint: None,
            region: None,
            prefix: String::new(),
            path_style: None,
            payload_signing: None,
            credentials: None,
            key_pairs: None,
            seal: Seal::plain(),
            timeout: Duration::from_secs(10),
            max_layer_bytes: MAX_LAYER_BYTES,
        }
    }

    /// The same with the tier's name in errors and metrics; `s3` unless set.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The same with the URL of a server other than Amazon's, `http://` or `https://`.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: Option<String>) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// The same with the bucket's region; unless set it comes from the environment or a profile, and is `us-east-1`
    /// where an endpoint is given and nothing tells.
    #[must_use]
    pub fn with_region(mut self, region: Option<String>) -> Self {
        self.region = region;
        self
    }

    /// The same with what every key begins with; nothing unless set. Add the `/` if it is to be a folder.
    #[must_use]
    pub fn with_prefix(mut self, prefix: String) -> Self {
        self.prefix = prefix;
        self
    }

    /// The same with the bucket in the path of a URL (`true`) or in its host name; in the path unless set if an
    /// endpoint is given.
    #[must_use]
    pub fn with_path_style(mut self, path_style: Option<bool>) -> Self {
        self.path_style = path_style;
        self
    }

    /// The same with whether the parts of a layer are signed with their bytes, so that a server refuses one that was changed on its
    /// way, for which both ends hash the layer once more; if not, it is stored, and whoever reads it has it removed. Unless set, they
    /// are if the [endpoint](Self::with_endpoint) has no TLS. What is shorter than a part is signed in any case, and so are indexes.
    #[must_use]
    pub fn with_payload_signing(mut self, payload_signing: Option<bool>) -> Self {
        self.payload_signing = payload_signing;
        self
    }

    /// The same with a key pair. Unless set, AWS's usual chain is asked when the tier is first used: environment, profile,
    /// web identity, container and instance metadata.
    #[must_use]
    pub fn with_credentials(mut self, access_key_id: String, secret_access_key: String) -> Self {
        self.credentials = Some(KeyPair::new(access_key_id, secret_access_key));
        self
    }

    /// The same with key pairs that may change: they are asked for each request, and override
    /// [those that do not](Self::with_credentials).
    #[must_use]
    pub fn with_key_pairs(mut self, key_pairs: Arc<dyn KeyPairs>) -> Self {
        self.key_pairs = Some(key_pairs);
        self
    }

    /// The same with what ends each index; [`Seal::plain`] unless set.
    #[must_use]
    pub fn with_seal(mut self, seal: Seal) -> Self {
        self.seal = seal;
        self
    }

    /// The same with how long one attempt to connect may take, and how long is waited for an answer or for the next
    /// bytes of one; 10 s unless set.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same with how many bytes a layer may have, to be read or written; unless set about 48 GiB, which is the most.
    #[must_use]
    pub fn with_max_layer_bytes(mut self, max_layer_bytes: u64) -> Self {
        self.max_layer_bytes = max_layer_bytes;
        self
    }

    /// Whether the bucket is in the path of a URL, as [set](Self::with_path_style) or as it is unless set.
    pub fn path_style(&self) -> bool {
        self.path_style.unwrap_or(self.endpoint.is_some())
    }

    /// Whether parts are signed with their bytes, as [set](Self::with_payload_signing) or as they are unless set.
    pub fn payload_signing(&self) -> bool {
        self.payload_signing.unwrap_or(self.is_plain())
    }

    /// Whether nothing is encrypted on the way to the server.
    pub(crate) fn is_plain(&self) -> bool {
        let scheme = self.endpoint.as_deref().and_then(|url| url.split_once("://"));
        scheme.is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("http"))
    }

    /// What can be told to be wrong without asking anybody.
    pub(crate) fn check(&self) -> Result<()> {
        let fail = |message: String| Err(Error::permanent(message));
        let name_len = self.bucket.len();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:/".contains(&byte);
        if !(1..=2048).contains(&name_len) || !self.bucket.bytes().all(legal) {
            return fail(format!("{:?} is not the name of a bucket", self.bucket));
        }
        if let Some(endpoint) = &self.endpoint {
            check_endpoint(endpoint)?;
        }
        if self.region.as_ref().is_some_and(|region| {
            region.is_empty()
                || !region
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        }) {
            return fail("the region is not the name of one, such as us-east-1".into());
        }
        if self.prefix.len() > MAX_PREFIX_LEN
            || self.prefix.starts_with('/')
            || self.prefix.contains(char::is_control)
        {
            return fail(format!(
                "the prefix must not begin with / or hold control characters, and have at most {MAX_PREFIX_LEN} bytes"
            ));
        }
        if let Some(pair) = &self.credentials {
            pair.check()?;
        }
        if self.timeout.is_zero() {
            return fail("the timeout is zero".into());
        }
        if self.max_layer_bytes == 0 || self.max_layer_bytes > MAX_LAYER_BYTES {
            return fail(format!(
                "the longest layer must have 1 to {} bytes",
                MAX_LAYER_BYTES
            ));
        }
        Ok(())
    }
}

/// A key has at most 1024 bytes; this leaves room for what follows the prefix.
const MAX_PREFIX_LEN: usize = 512;

fn check_endpoint(endpoint: &str) -> Result<()> {
    let rest = endpoint
        .strip_prefix("http://")
        .or_else(|| endpoint.strip_prefix("https://"));
    // Not repeated: it may hold a password.
    let wrong = match rest {
        None => Some("must begin with http:// or https://"),
        Some(rest) if rest.contains('@') => Some("must not hold credentials: set them on their own"),
        Some(rest) if rest.contains(['?', '#']) => Some("must not have a query or a fragment"),
        Some(rest) if rest.is_empty() || rest.starts_with(['/', ':']) => Some("names no host"),
        Some(rest) if rest.contains(|c: char| c.is_whitespace() || c.is_control()) => Some("is not a URL"),
        Some(_) => None,
    };
    wrong.map_or(Ok(()), |wrong| {
        Err(Error::permanent(format!("the endpoint {wrong}")))
    })
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Config")
            .field("name", &self.name)
            .field("bucket", &self.bucket)
            // What is refused for holding credentials is not shown either.
            .field(
                "endpoint",
                &self.endpoint.as_ref().map(|url| match url.rsplit_once('@') {
                    Some((_, host)) => host,
                    None => url,
                }),
            )
            .field("region", &self.region)
            .field("prefix", &self.prefix)
            .field("path_style", &self.path_style())
            .field("payload_signing", &self.payload_signing())
            .field("credentials", &self.credentials)
            .field("key_pairs", &self.key_pairs)
            .field("seal", &self.seal)
            .field("timeout", &self.timeout)
            .field("max_layer_bytes", &self.max_layer_bytes)
            .finish()
    }
}

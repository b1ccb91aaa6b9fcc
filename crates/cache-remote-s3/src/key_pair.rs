//! Key pairs that requests are signed with, and how the SDK gets them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use cache_core::{Error, Result};

/// An access key. Its `Debug` shows neither part.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    access_key_id: String,
    secret_access_key: String,
}

impl KeyPair {
    /// The key with this ID.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
        }
    }

    /// Whether it looks like a key: whether the server knows it is another matter.
    ///
    /// # Errors
    /// [`Permanent`](cache_core::ErrorKind::Permanent), naming the part that is empty or not printable ASCII without white space, and
    /// repeating none.
    pub fn check(&self) -> Result<()> {
        let sound = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let part = match (sound(&self.access_key_id), sound(&self.secret_access_key)) {
            (true, true) => return Ok(()),
            (false, _) => "access key ID",
            (true, false) => "secret access key",
        };
        Err(Error::permanent(format!(
            "the {part} is empty or holds what no key holds"
        )))
    }

    /// As the SDK has it.
    pub(crate) fn credentials(&self) -> Credentials {
        let Self {
            access_key_id,
            secret_access_key,
        } = self;
        Credentials::new(access_key_id, secret_access_key, None, None, "configuration")
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key pair")
    }
}

/// Tells a key pair that may change while a tier lives.
///
/// # Contract
/// [`key_pair`](Self::key_pair) is asked for each request: keep the answer for a moment where it costs something. Dropping the future
/// cancels it; the tier waits for it no longer than for the answer to the request. `Debug` shows no secret.
#[async_trait]
pub trait KeyPairs: fmt::Debug + Send + Sync + 'static {
    /// The key pair to sign the next request with.
    ///
    /// # Errors
    /// When there is none to be had; the request fails then, as `Unavailable`. The error must not repeat a secret.
    async fn key_pair(&self) -> Result<KeyPair>;
}

/// What the SDK asks in the place of its usual chain.
#[derive(Debug)]
pub(crate) struct Provider(pub(crate) Arc<dyn KeyPairs>);

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let pair = self.0.key_pair().await;
            let pair = pair.and_then(|pair| pair.check().map(|()| pair));
            pair.map(|pair| pair.credentials())
                .map_err(CredentialsError::not_loaded)
        })
    }
}

//! Who we are to a registry.

mod auth_file;
mod from_files;
mod helper;

use std::collections::HashMap;
use std::fmt::Debug;

use async_trait::async_trait;
use cache_core::Result;

pub use from_files::CredentialFiles;

use crate::{Repository, Secret};

/// What a registry or its token server is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A user name and a password or access token.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token, exchanged for access tokens at the token server (`docker login` of some registries).
    IdentityToken(Secret),
}

/// Knows credentials. Asked when a registry wants some, not before, and again when it refuses a token.
#[async_trait]
pub trait CredentialProvider: Debug + Send + Sync + 'static {
    /// The credentials for a repository, or `None` to go on anonymously. For a mirror the host is the mirror's.
    ///
    /// # Errors
    /// When there may be credentials that cannot be had: `Unavailable` if a later try may help, else `Permanent`. The
    /// error must not contain them.
    async fn credentials(&self, repository: &Repository) -> Result<Option<Credentials>>;
}

/// No credentials for anybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

#[async_trait]
impl CredentialProvider for Anonymous {
    async fn credentials(&self, _: &Repository) -> Result<Option<Credentials>> {
        Ok(None)
    }
}

/// Credentials given by the application, each for one host.
#[derive(Clone, Debug, Default)]
pub struct StaticCredentials {
    by_host: HashMap<String, Credentials>,
}

impl StaticCredentials {
    /// The same with `credentials` for `host`, written as in a reference: `docker.io`, `registry.example:5000`.
    #[must_use]
    pub fn with(mut self, host: impl Into<String>, credentials: Credentials) -> Self {
        self.by_host.insert(host.into(), credentials);
        self
    }
}

#[async_trait]
impl CredentialProvider for StaticCredentials {
    async fn credentials(&self, repository: &Repository) -> Result<Option<Credentials>> {
        Ok(self.by_host.get(repository.host()).cloned())
    }
}

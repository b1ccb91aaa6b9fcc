//! URLs that may change while a tier lives.

use std::fmt;

use async_trait::async_trait;
use cache_core::Result;

/// Tells the URLs of a tier's servers: the password in them may change while the tier lives.
///
/// # Contract
/// [`urls`](Self::urls) is asked for each new connection. Dropping the future cancels it; connecting waits for it within its time-out.
/// `Debug` shows no credentials.
#[async_trait]
pub trait ServerUrls: fmt::Debug + Send + Sync + 'static {
    /// The URLs as they are now, written as for [`RedisConfig::new`](crate::RedisConfig::new).
    ///
    /// # Errors
    /// When they are not to be had; no connection is made then. The error must not repeat credentials.
    async fn urls(&self) -> Result<Vec<String>>;
}

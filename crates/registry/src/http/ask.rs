//! Asking the mirrors and the host in turn.

use cache_core::{ErrorKind, Result};

use super::endpoint::Endpoint;
use super::failure::{Failure, chain};
use super::retry::delay;
use super::transport::Transport;

impl Transport {
    /// Asks the endpoints in order for something that may be absent, and tells which one had it. A mirror is asked once, the
    /// host itself until it answers or the repetitions are used up; what the host says counts.
    pub(super) async fn first<'a, T, F>(
        &'a self,
        endpoints: &'a [Endpoint],
        ask: impl Fn(&'a Endpoint) -> F,
    ) -> Result<Option<(usize, T)>>
    where
        F: Future<Output = Result<Option<T>, Failure>>,
    {
        for (number, endpoint) in endpoints.iter().enumerate() {
            let mut attempt = 0;
            loop {
                let Failure { error, retry_after } = match ask(endpoint).await {
                    Ok(Some(found)) => return Ok(Some((number, found))),
                    Ok(None) => break,
                    Err(failure) => failure,
                };
                let host = endpoint.host();
                if endpoint.is_mirror {
                    tracing::warn!(host, error = chain(&error), "mirror passed over");
                    break;
                }
                if error.kind() != ErrorKind::Unavailable || attempt == self.config.max_retries {
                    return Err(error);
                }
                tracing::info!(
                    host,
                    attempt = attempt + 1,
                    error = chain(&error),
                    "request failed, trying again"
                );
                self.stats.count_repeated_open();
                tokio::time::sleep(delay(&self.config, attempt, retry_after)).await;
                attempt += 1;
            }
        }
        Ok(None)
    }
}

//! Whether the mirrors that are configured can be used.

use std::collections::BTreeSet;
use std::time::Duration;

use cache_core::{Error, Result};
use futures_util::{StreamExt, stream};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use tokio::time::timeout;

use super::endpoint::Endpoint;
use super::failure::{Failure, chain};
use super::origin::{RegistryOrigin, anywhere};
use super::transport::Transport;

/// Mirrors that are asked at once.
const MAX_CONCURRENT: usize = 64;
/// How long each may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

impl RegistryOrigin {
    /// Asks each mirror of the configuration once whether it is a registry, for 10 s at most, as `GET /v2/` does in the [distribution specification]. One that
    /// wants credentials has answered: which ones depends on the image.
    ///
    /// [distribution specification]: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#determining-support
    ///
    /// # Errors
    /// When one has not answered well. The message names each, and says why.
    pub async fn check_mirrors(&self) -> Result<()> {
        let transport = self.transport();
        let bases: BTreeSet<&String> = transport.config.mirrors.values().flatten().collect();
        let checks: Vec<_> = bases
            .into_iter()
            .map(|base| check(transport, base.clone()))
            .collect();
        let checked: Vec<_> = stream::iter(checks).buffered(MAX_CONCURRENT).collect().await;
        let failed: Vec<Error> = checked.into_iter().filter_map(Result::err).collect();
        let Some(kind) = Error::most_hopeful(&failed).map(Error::kind) else {
            return Ok(());
        };
        let each: Vec<_> = failed.iter().map(Error::message).collect();
        let message = format!("not every mirror can be used: {}", each.join("; "));
        Err(Error::new(kind, message).at(&transport.config.name, "check"))
    }
}

/// The error begins with the mirror, which may have sent us elsewhere.
async fn check(transport: &Transport, base: String) -> Result<()> {
    let asked = timeout(PATIENCE, ask(transport, &base)).await;
    asked
        .unwrap_or_else(|_| {
            let seconds = PATIENCE.as_secs();
            Err(Error::unavailable(format!("no answer within {seconds} s")))
        })
        .map_err(|error| Error::new(error.kind(), format!("{base}: {}", chain(&error))))
}

async fn ask(transport: &Transport, base: &str) -> Result<()> {
    let endpoint = Endpoint::mirror(base, &anywhere())?;
    let asked = transport.follow(endpoint.api(), &HeaderMap::new(), None).await;
    let answer = asked.map_err(|failure| failure.error)?.response;
    match answer.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(()),
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND => Err(Error::permanent(format!(
            "{} answered 404 Not Found: it is no registry, or its URL is another",
            endpoint.host()
        ))),
        status => Err(Failure::of_status(status, answer.headers(), endpoint.host()).error),
    }
}

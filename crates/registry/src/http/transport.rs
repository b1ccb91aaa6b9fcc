//! One request to a registry, with everything that belongs to it: a client, a place in the queue, redirects and access.

use std::sync::Arc;

use cache_core::{Error, Result};
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::body::Body;
use super::challenge;
use super::client::Clients;
use super::config::RegistryConfig;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::queue::Queues;
use super::redirect::{self, MAX_REDIRECTS};
use super::token::Tokens;
use crate::OriginStats;
use crate::credentials::CredentialProvider;

/// Sends requests. Nothing here is repeated but what a refused token makes necessary.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) config: RegistryConfig,
    pub(super) stats: OriginStats,
    pub(super) clients: Clients,
    pub(super) credentials: Arc<dyn CredentialProvider>,
    tokens: Tokens,
    queues: Queues,
}

/// An answer, and whether the registry itself gave it and not a server that it redirected to.
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) from_registry: bool,
}

impl Transport {
    pub(super) fn new(config: RegistryConfig, credentials: Arc<dyn CredentialProvider>) -> Result<Self> {
        let queues = Queues::new(config.max_requests_per_host, config.queue_timeout);
        Ok(Self {
            clients: Clients::new(&config)?,
            stats: OriginStats::new(&config.name),
            config,
            credentials,
            tokens: Tokens::default(),
            queues,
        })
    }

    /// Waits for a place among the requests to this host. It is given up by dropping the permit.
    pub(super) async fn permit(&self, endpoint: &Endpoint) -> Result<OwnedSemaphorePermit> {
        self.queues.permit(endpoint.host()).await
    }

    /// Sends a GET and returns the answer, whatever its status. A 401 or 403 renews access once and asks again.
    pub(super) async fn get(
        &self,
        endpoint: &Endpoint,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Response, Failure> {
        let mut slot = self.tokens.current(endpoint);
        let mut renewed = false;
        loop {
            let access = match &slot {
                Some(slot) => Some(self.access(endpoint, slot).await?),
                None => None,
            };
            let authorization = access.map(|access| &access.header);
            let Answer {
                response,
                from_registry,
            } = self.follow(url.clone(), headers, authorization).await?;
            let denied = matches!(
                response.status(),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
            );
            if !denied || renewed {
                return Ok(response);
            }
            renewed = true;
            // Where a server that the registry redirected to refuses, its signed URL may have expired: the registry is
            // asked for another one, but that server's challenge is none of our registry's.
            if from_registry {
                match self
                    .tokens
                    .renewed(endpoint, slot.as_ref(), challenge::find(response.headers()))
                {
                    Some(new) => slot = Some(new),
                    None => return Ok(response),
                }
            }
        }
    }

    /// Sends a GET and follows redirects; `authorization` goes no further than to the server of `url`.
    pub(super) async fn follow(
        &self,
        mut url: Url,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Failure> {
        let mut from_registry = true;
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self
                .clients
                .for_url(&url)
                .await?
                .get(url.clone())
                .headers(headers.clone());
            request = request.header(ACCEPT_ENCODING, "identity");
            if let Some(authorization) = authorization.filter(|_| from_registry) {
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = self.send(request, &url).await?;
            if !is_redirect(response.status()) {
                return Ok(Answer {
                    response,
                    from_registry,
                });
            }
            let target = redirect::target(&url, response.headers())?;
            // Never true again: what lies behind another server is not to be trusted with it, even on the way back.
            from_registry &= redirect::same_server(&url, &target);
            url = target;
        }
        let host = url.host_str().unwrap_or_default();
        Err(Error::permanent(format!(
            "more than {MAX_REDIRECTS} redirects, the last one to {host}"
        ))
        .into())
    }

    /// Sends a request and waits until the answer begins.
    pub(super) async fn send(&self, request: RequestBuilder, url: &Url) -> Result<Response, Failure> {
        // With the port, which tells registries on one host apart, and without a user's name and password.
        let authority = url.authority();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        self.stats.count_request();
        let response = timeout(
            self.config.connect_timeout + self.config.idle_timeout,
            request.send(),
        )
        .await
        .map_err(|_| Error::unavailable(format!("{host} gave no answer in time")))?
        .map_err(|error| Failure::of_transfer(error, host))?;
        // Not the query: it may hold a signature.
        tracing::debug!(
            host,
            path = url.path(),
            status = response.status().as_u16(),
            "request"
        );
        Ok(response)
    }

    /// The body of an answer from `host`.
    pub(super) fn body(&self, response: Response, host: &str) -> Body {
        Body::new(response, host, self.config.idle_timeout, self.stats.clone())
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

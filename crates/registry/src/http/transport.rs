//! One request to a registry, with everything that belongs to it: a client, a place in the queue, redirects and access.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cache_core::{Error, Result};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::body::Body;
use super::challenge::{self, Bearer, Challenge};
use super::client::Clients;
use super::config::RegistryConfig;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::redirect::{self, MAX_REDIRECTS};
use super::token::{self, Access, Slot, TokenAnswer, Tokens};
use crate::credentials::{CredentialProvider, Credentials};
use crate::{OriginStats, Secret};

const MAX_TOKEN_ANSWER: u64 = 1 << 20;
/// How many hosts' queues are remembered while nobody is in them.
const MAX_IDLE_QUEUES: usize = 1024;

/// Sends requests. Nothing here is repeated but what a refused token makes necessary.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) config: RegistryConfig,
    pub(super) stats: OriginStats,
    clients: Clients,
    credentials: Arc<dyn CredentialProvider>,
    tokens: Tokens,
    /// A std mutex: it is held for a look-up and never across an await.
    queues: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// An answer, and whether the registry itself gave it and not a server that it redirected to.
struct Answer {
    response: Response,
    from_registry: bool,
}

impl Transport {
    pub(super) fn new(config: RegistryConfig, credentials: Arc<dyn CredentialProvider>) -> Result<Self> {
        Ok(Self {
            clients: Clients::new(&config)?,
            config,
            stats: OriginStats::default(),
            credentials,
            tokens: Tokens::default(),
            queues: Mutex::default(),
        })
    }

    /// Waits for a place among the requests to this host. It is given up by dropping the permit.
    pub(super) async fn permit(&self, endpoint: &Endpoint) -> Result<OwnedSemaphorePermit> {
        let queue = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            if queues.len() >= MAX_IDLE_QUEUES {
                queues.retain(|_, queue| Arc::strong_count(queue) > 1);
            }
            let places = self.config.max_requests_per_host.clamp(1, Semaphore::MAX_PERMITS);
            let queue = queues.entry(endpoint.host().to_owned());
            Arc::clone(queue.or_insert_with(|| Arc::new(Semaphore::new(places))))
        };
        let closed = || Error::unavailable(format!("too many requests to {} for too long", endpoint.host()));
        let permit = timeout(self.config.queue_timeout, queue.acquire_owned())
            .await
            .map_err(|_| closed())?;
        permit.map_err(|_| closed())
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

    async fn access<'a>(&self, endpoint: &Endpoint, slot: &'a Slot) -> Result<&'a Access, Failure> {
        slot.access
            .get_or_try_init(async || {
                let credentials = self.credentials.credentials(&endpoint.repository).await?;
                match (&slot.challenge, credentials) {
                    (Challenge::Bearer(bearer), credentials) => {
                        self.token(endpoint, bearer, credentials).await
                    }
                    (Challenge::Basic, Some(Credentials::Basic { username, password })) => {
                        Ok(token::basic(&username, &password)?)
                    }
                    (Challenge::Basic, _) => Err(Error::permanent(format!(
                        "{} wants a user name and a password, and none are known for it",
                        endpoint.host()
                    ))
                    .into()),
                }
            })
            .await
    }

    async fn token(
        &self,
        endpoint: &Endpoint,
        bearer: &Bearer,
        credentials: Option<Credentials>,
    ) -> Result<Access, Failure> {
        let realm = token::realm(bearer, endpoint)?;
        let host = realm.host_str().unwrap_or_default().to_owned();
        let asked = Instant::now();
        let fetch = async {
            let response = match credentials {
                Some(Credentials::IdentityToken(refresh)) => {
                    self.exchange(realm, bearer, endpoint, &refresh).await?
                }
                credentials => {
                    let url = token_url(realm, bearer, endpoint);
                    let access = match credentials {
                        Some(Credentials::Basic { username, password }) => {
                            Some(token::basic(&username, &password)?)
                        }
                        _ => None,
                    };
                    let header = access.as_ref().map(|access| &access.header);
                    self.follow(url, &json_headers(), header).await?.response
                }
            };
            let status = response.status();
            if !status.is_success() {
                return Err(Failure::of_status(
                    status,
                    response.headers(),
                    &format!("token server {host}"),
                ));
            }
            self.body(response, &host)
                .read_all(MAX_TOKEN_ANSWER, "token")
                .await
        };
        let answer = timeout(self.config.document_timeout, fetch)
            .await
            .map_err(|_| Error::unavailable(format!("token server {host} gave no answer in time")))??;
        // serde_json's message may quote the answer: it is dropped.
        let answer: TokenAnswer = serde_json::from_slice(&answer)
            .map_err(|_| Error::permanent(format!("token server {host} did not answer with a token")))?;
        Ok(answer.into_access(asked)?)
    }

    /// Exchanges an identity token for an access token, as in
    /// <https://distribution.github.io/distribution/spec/auth/oauth/>. No redirect is followed: the form is a secret.
    async fn exchange(
        &self,
        realm: Url,
        bearer: &Bearer,
        endpoint: &Endpoint,
        refresh: &Secret,
    ) -> Result<Response, Failure> {
        let scope = token::scopes(bearer, endpoint).join(" ");
        let form = [
            ("grant_type", "refresh_token"),
            ("service", bearer.service.as_deref().unwrap_or_default()),
            ("client_id", "layercache"),
            ("scope", &scope),
            ("refresh_token", refresh.reveal()),
        ];
        let request = self
            .clients
            .for_url(&realm)
            .await?
            .post(realm.clone())
            .headers(json_headers())
            .form(&form);
        self.send(request, &realm).await
    }

    /// Sends a GET and follows redirects; `authorization` goes no further than to the server of `url`.
    async fn follow(
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
    async fn send(&self, request: RequestBuilder, url: &Url) -> Result<Response, Failure> {
        let host = url.host_str().unwrap_or_default();
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

fn json_headers() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))])
}

fn token_url(mut realm: Url, bearer: &Bearer, endpoint: &Endpoint) -> Url {
    let mut query = realm.query_pairs_mut();
    if let Some(service) = &bearer.service {
        query.append_pair("service", service);
    }
    for scope in token::scopes(bearer, endpoint) {
        query.append_pair("scope", &scope);
    }
    drop(query);
    realm
}

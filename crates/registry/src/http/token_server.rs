//! Answering a challenge: with a password, or with a token from the server that the registry names.

use cache_core::Error;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{Response, Url};
use tokio::time::{Instant, timeout};

use super::challenge::{Bearer, Challenge};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::token::{self, Access, Slot, TokenAnswer};
use super::transport::Transport;
use crate::{Credentials, Secret};

const MAX_TOKEN_ANSWER: u64 = 1 << 20;

impl Transport {
    /// The access that answers the slot's challenge, fetched by the first one who needs it.
    pub(super) async fn access<'a>(
        &self,
        endpoint: &Endpoint,
        slot: &'a Slot,
    ) -> Result<&'a Access, Failure> {
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
                        "{host} wants a user name and a password, and none are known for it: `docker login {host}` keeps them",
                        host = endpoint.host()
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

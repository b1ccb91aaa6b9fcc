//! Access to repositories: the answers to challenges, kept per server and repository.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cache_core::{Error, Result};
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::challenge::{Bearer, Challenge};
use super::endpoint::{Endpoint, Resource};
use crate::Secret;
use crate::excerpt::excerpt;

/// How many repositories' tokens are kept.
const MAX_SLOTS: usize = 1024;
/// What the specification says of a token without `expires_in`.
const DEFAULT_LIFETIME: u64 = 60;
const MAX_LIFETIME: u64 = 24 * 60 * 60;

/// The `Authorization` header for a repository, and until when it is worth sending.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) header: HeaderValue,
    expires: Option<Instant>,
}

/// One challenge and, once somebody has answered it, the access that got. Those who need it at the same time wait for the
/// same answer; if the one who fetches it goes away, the next one takes over.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) challenge: Challenge,
    pub(super) access: OnceCell<Access>,
}

impl Slot {
    fn new(challenge: Challenge) -> Arc<Self> {
        Arc::new(Self {
            challenge,
            access: OnceCell::new(),
        })
    }

    fn is_expired(&self) -> bool {
        let expires = self.access.get().and_then(|access| access.expires);
        expires.is_some_and(|expires| expires <= Instant::now())
    }
}

/// What is known about access, by server and repository. A std mutex: it is held for a look-up and never across an await.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<HashMap<String, Arc<Slot>>>);

impl Tokens {
    /// The slot to use; a fresh one with the same challenge where the access has expired.
    pub(super) fn current(&self, endpoint: &Endpoint) -> Option<Arc<Slot>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get_mut(&key(endpoint))?;
        if slot.is_expired() {
            *slot = Slot::new(slot.challenge.clone());
        }
        Some(Arc::clone(slot))
    }

    /// The slot to use after the registry refused `stale`. The challenge is the one it came with, or the one known before;
    /// without any there is nothing to be done.
    pub(super) fn renewed(
        &self,
        endpoint: &Endpoint,
        stale: Option<&Arc<Slot>>,
        challenge: Option<Challenge>,
    ) -> Option<Arc<Slot>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(endpoint);
        if let Some(newer) = slots.get(&key)
            && stale.is_none_or(|stale| !Arc::ptr_eq(stale, newer))
        {
            return Some(Arc::clone(newer));
        }
        let slot = Slot::new(challenge.or_else(|| Some(stale?.challenge.clone()))?);
        if slots.len() >= MAX_SLOTS {
            slots.clear();
        }
        slots.insert(key, Arc::clone(&slot));
        Some(slot)
    }
}

fn key(endpoint: &Endpoint) -> String {
    endpoint.url(Resource::Manifest, "").to_string()
}

/// What a token server answers.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl TokenAnswer {
    /// The header to send; the answer itself is never repeated.
    pub(super) fn into_access(self, asked: Instant) -> Result<Access> {
        let token = if self.token.is_empty() {
            self.access_token
        } else {
            self.token
        };
        if token.is_empty() {
            return Err(Error::permanent(
                "the token server's answer holds no token: check the credentials for this registry",
            ));
        }
        let lifetime = Duration::from_secs(self.expires_in.unwrap_or(DEFAULT_LIFETIME).min(MAX_LIFETIME));
        // A little early, so that it does not expire on its way.
        let margin = (lifetime / 10).min(Duration::from_secs(10));
        let header = sensitive(&format!("Bearer {token}"))?;
        Ok(Access {
            header,
            expires: Some(asked + (lifetime - margin)),
        })
    }
}

/// Access with a user name and a password, which does not expire.
pub(super) fn basic(username: &str, password: &Secret) -> Result<Access> {
    use base64::Engine;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{}", password.reveal()));
    Ok(Access {
        header: sensitive(&format!("Basic {pair}"))?,
        expires: None,
    })
}

/// A header value that `Debug` does not show.
fn sensitive(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Error::permanent("a token or password cannot be sent in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Checks that credentials may be sent to the token server that `endpoint` names: over TLS, unless the registry itself is
/// talked to in the clear.
pub(super) fn realm(bearer: &Bearer, endpoint: &Endpoint) -> Result<Url> {
    let refused = |why: &str| {
        let realm = excerpt(bearer.realm.split('?').next().unwrap_or_default());
        Error::permanent(format!(
            "{} names the token server \"{realm}\", {why}",
            endpoint.host()
        ))
    };
    let url = Url::parse(&bearer.realm).map_err(|_| refused("which is no URL"))?;
    match url.scheme() {
        "https" => {}
        "http" if endpoint.is_plain() => {}
        _ => return Err(refused("which does not use HTTPS")),
    }
    if url.host_str().is_none() || !url.username().is_empty() || url.password().is_some() {
        return Err(refused("which is refused"));
    }
    Ok(url)
}

/// The scopes to ask for, one parameter each.
pub(super) fn scopes(bearer: &Bearer, endpoint: &Endpoint) -> Vec<String> {
    match &bearer.scope {
        Some(scope) => scope.split_ascii_whitespace().map(str::to_owned).collect(),
        None => vec![format!("repository:{}:pull", endpoint.repository.path())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::config::RegistryConfig;

    fn endpoint(repository: &str) -> Endpoint {
        let config = RegistryConfig::default();
        Endpoint::all(&config, &repository.parse().unwrap())
            .unwrap()
            .remove(0)
    }

    fn bearer(realm: &str) -> Bearer {
        Bearer {
            realm: realm.into(),
            service: None,
            scope: None,
        }
    }

    #[test]
    fn credentials_go_to_token_servers_over_tls_only() {
        let tls = endpoint("quay.io/team/app");
        assert!(realm(&bearer("https://auth.example/token"), &tls).is_ok());
        for refused in [
            "http://auth.example/token",
            "http://localhost/t",
            "ftp://a/",
            "/token",
            "https://u:p@a/",
        ] {
            assert!(realm(&bearer(refused), &tls).is_err(), "{refused}");
        }
        assert!(realm(&bearer("http://localhost/token"), &endpoint("localhost:5000/app")).is_ok());
    }

    #[test]
    fn the_scope_is_the_one_asked_for_or_to_pull() {
        let app = endpoint("quay.io/team/app");
        assert_eq!(scopes(&bearer("x"), &app), ["repository:team/app:pull"]);
        let two = Bearer {
            scope: Some("a:b:pull  c:d:pull".into()),
            ..bearer("x")
        };
        assert_eq!(scopes(&two, &app), ["a:b:pull", "c:d:pull"]);
    }

    #[tokio::test]
    async fn an_expired_or_refused_access_is_replaced_once_for_all() {
        let (app, tokens) = (endpoint("quay.io/team/app"), Tokens::default());
        assert!(tokens.current(&app).is_none());
        assert!(
            tokens.renewed(&app, None, None).is_none(),
            "without a challenge there is nothing to answer"
        );
        let first = tokens.renewed(&app, None, Some(Challenge::Basic)).unwrap();
        assert!(Arc::ptr_eq(&first, &tokens.current(&app).unwrap()));
        // Two were refused with the first access; the second one to notice takes what the other one got.
        let second = tokens.renewed(&app, Some(&first), None).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(
            &second,
            &tokens.renewed(&app, Some(&first), None).unwrap()
        ));
        // Another repository has its own.
        assert!(tokens.current(&endpoint("quay.io/team/other")).is_none());

        let answer = |json: &str| {
            serde_json::from_str::<TokenAnswer>(json)
                .unwrap()
                .into_access(Instant::now())
        };
        second
            .access
            .set(answer(r#"{"token":"t","expires_in":0}"#).unwrap())
            .unwrap();
        let third = tokens.current(&app).unwrap();
        assert!(!Arc::ptr_eq(&second, &third));
        third
            .access
            .set(answer(r#"{"access_token":"t","expires_in":300}"#).unwrap())
            .unwrap();
        assert!(Arc::ptr_eq(&third, &tokens.current(&app).unwrap()));
    }

    #[test]
    fn access_does_not_show_and_cannot_smuggle_headers() {
        let access = basic("user", &Secret::new("hunter2")).unwrap();
        assert_eq!(access.header.to_str().unwrap(), "Basic dXNlcjpodW50ZXIy");
        assert!(!format!("{access:?}").contains("dXNl"));
        for json in [r#"{"token":"a\r\nx: y"}"#, r#"{"token":""}"#, "{}"] {
            let answer: TokenAnswer = serde_json::from_str(json).unwrap();
            assert!(answer.into_access(Instant::now()).is_err());
        }
    }
}

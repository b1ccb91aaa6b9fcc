//! The credential file of Docker (`config.json`) and Podman (`auth.json`).
//!
//! The format is described in <https://docs.docker.com/reference/cli/docker/login/> and
//! <https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md>.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::Credentials;
use crate::{Repository, Secret};

const DOCKER_HUB: &str = "docker.io";
/// What helpers call Docker Hub.
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// What of the file matters here. No `Debug`: it holds secrets.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuthFile {
    #[serde(default)]
    auths: HashMap<String, Entry>,
    #[serde(default)]
    cred_helpers: HashMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
}

/// A helper program to ask.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HelperCall<'a> {
    /// The suffix of `docker-credential-<name>`.
    pub(super) name: &'a str,
    /// What the helper knows the registry by.
    pub(super) server: &'a str,
    /// Whether the file names the helper for this host, and not for all there are.
    pub(super) explicit: bool,
}

impl AuthFile {
    /// The helper that is responsible for the host, if any.
    pub(super) fn helper<'a>(&'a self, host: &'a str) -> Option<HelperCall<'a>> {
        let host = canonical_host(host);
        let server = if host == DOCKER_HUB {
            DOCKER_HUB_SERVER
        } else {
            host
        };
        let explicit = self
            .cred_helpers
            .iter()
            .find(|(key, _)| canonical_host(host_of(key)) == host);
        let (name, explicit) = match explicit {
            Some((_, name)) => (name.as_str(), true),
            None => (self.creds_store.as_str(), false),
        };
        (!name.is_empty()).then_some(HelperCall {
            name,
            server,
            explicit,
        })
    }

    /// The entry of the longest key that is the repository or a parent of it (Podman), down to the host alone.
    pub(super) fn entry(&self, repository: &Repository) -> Option<Credentials> {
        let host = canonical_host(repository.host());
        self.auths
            .iter()
            .filter_map(|(key, entry)| {
                let (key_host, key_path) = split_key(key);
                let rest = (canonical_host(key_host) == host)
                    .then(|| repository.path().strip_prefix(key_path))
                    .flatten()?;
                let is_parent = key_path.is_empty() || rest.is_empty() || rest.starts_with('/');
                is_parent.then_some(())?;
                Some((key_path.len(), key, entry.credentials()?))
            })
            // Of two spellings of one host, the same one wins each time.
            .max_by_key(|(len, key, _)| (*len, *key))
            .map(|(_, _, credentials)| credentials)
    }
}

impl Entry {
    fn credentials(&self) -> Option<Credentials> {
        if !self.identity_token.is_empty() {
            return Some(Credentials::IdentityToken(Secret::new(
                self.identity_token.as_str(),
            )));
        }
        let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let base64 = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
        let (username, password) = if self.auth.is_empty() {
            (self.username.clone(), self.password.clone())
        } else {
            let decoded = String::from_utf8(base64.decode(self.auth.trim()).ok()?).ok()?;
            let (username, password) = decoded.split_once(':')?;
            // Docker wrote passwords with trailing NULs once.
            (username.to_owned(), password.trim_end_matches('\0').to_owned())
        };
        let password = Secret::new(password);
        (!username.is_empty()).then_some(Credentials::Basic { username, password })
    }
}

/// `https://index.docker.io/v1/` is a host with an API path; `quay.io/team` is a host with the path of repositories.
fn split_key(key: &str) -> (&str, &str) {
    let host = host_of(key);
    let is_url = key.starts_with("https://") || key.starts_with("http://");
    match key.split_once('/') {
        Some((_, path)) if !is_url && !matches!(path, "v1/" | "v2/" | "v1" | "v2") => {
            (host, path.trim_end_matches('/'))
        }
        _ => (host, ""),
    }
}

fn host_of(key: &str) -> &str {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    key.split('/').next().unwrap_or(key)
}

fn canonical_host(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: serde_json::Value) -> AuthFile {
        serde_json::from_value(json).unwrap()
    }

    fn user(file: &AuthFile, repository: &str) -> Option<String> {
        match file.entry(&repository.parse().unwrap())? {
            Credentials::Basic { username, password } => Some(format!("{username}:{}", password.reveal())),
            Credentials::IdentityToken(token) => Some(format!("token {}", token.reveal())),
        }
    }

    fn auth(text: &str) -> serde_json::Value {
        serde_json::json!({ "auth": base64::engine::general_purpose::STANDARD.encode(text) })
    }

    #[test]
    fn the_longest_parent_wins() {
        let file = file(serde_json::json!({ "auths": {
            "quay.io": auth("host:1"), "quay.io/team": auth("team:2"), "quay.io/team/app": auth("app:3:x"),
        }}));
        for (repository, expected) in [
            ("quay.io/other/app", Some("host:1")),
            ("quay.io/team/other", Some("team:2")),
            ("quay.io/team/app", Some("app:3:x")),
            ("quay.io/team/app/sub", Some("app:3:x")),
            ("quay.io/teams/app", Some("host:1")),
            ("quay.io:443/team/app", None),
            ("debian", None),
        ] {
            assert_eq!(user(&file, repository).as_deref(), expected, "{repository}");
        }
    }

    #[test]
    fn legacy_keys_of_docker_hub_and_urls_are_hosts() {
        let file = file(serde_json::json!({ "auths": {
            "https://index.docker.io/v1/": auth("hub:1"), "https://registry.example/v2/": auth("url:2"),
            "token.example": { "auth": "dTo=", "identitytoken": "refresh" },
            "plain.example": { "username": "u", "password": "p" },
            "broken.example": { "auth": "%%%" }, "empty.example": {},
        }}));
        for (repository, expected) in [
            ("debian", Some("hub:1")),
            ("registry.example/app", Some("url:2")),
            ("token.example/app", Some("token refresh")),
            ("plain.example/app", Some("u:p")),
            ("broken.example/app", None),
            ("empty.example/app", None),
        ] {
            assert_eq!(user(&file, repository).as_deref(), expected, "{repository}");
        }
    }

    #[test]
    fn a_helper_of_the_host_goes_before_the_store() {
        let file = file(serde_json::json!({
            "credHelpers": { "gcr.io": "gcloud", "docker.io": "hub" }, "credsStore": "desktop",
        }));
        let helper = |host| file.helper(host).unwrap();
        assert_eq!(
            helper("gcr.io"),
            HelperCall {
                name: "gcloud",
                server: "gcr.io",
                explicit: true
            }
        );
        assert_eq!(
            helper("quay.io"),
            HelperCall {
                name: "desktop",
                server: "quay.io",
                explicit: false
            }
        );
        assert_eq!(
            helper("docker.io"),
            HelperCall {
                name: "hub",
                server: DOCKER_HUB_SERVER,
                explicit: true
            }
        );
        assert_eq!(AuthFile::default().helper("gcr.io"), None);
    }
}

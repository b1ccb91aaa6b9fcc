//! Where a repository can be asked for: its mirrors, then its host.

use std::net::IpAddr;

use cache_core::{Error, Result};
use reqwest::Url;

use super::config::RegistryConfig;
use crate::Repository;
use crate::excerpt::excerpt;
use crate::repository::is_path;

/// A repository at one server.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// Scheme, host and port.
    server: Url,
    /// The repository as it is called there: at a mirror, the host is the mirror's.
    pub(super) repository: Repository,
    pub(super) is_mirror: bool,
}

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// Manifests and indexes, by tag or digest.
    Manifest,
    /// Configs and layers, by digest.
    Blob,
}

impl Resource {
    /// What to call it in a message.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Blob => "blob",
        }
    }
}

impl Endpoint {
    /// The endpoints of `repository` in the order in which they are asked; never none.
    pub(super) fn all(config: &RegistryConfig, repository: &Repository) -> Result<Vec<Self>> {
        let mirrors = config
            .mirrors
            .get(repository.host())
            .map_or(&[][..], Vec::as_slice);
        let mut endpoints = mirrors
            .iter()
            .map(|base| Self::mirror(base, repository))
            .collect::<Result<Vec<_>>>()?;
        endpoints.push(Self::upstream(config, repository)?);
        Ok(endpoints)
    }

    fn upstream(config: &RegistryConfig, repository: &Repository) -> Result<Self> {
        let host = repository.host();
        let plain = config.plain_http
            || is_loopback(host)
            || config.plain_http_hosts.iter().any(|plain| plain == host);
        let scheme = if plain { "http" } else { "https" };
        let address = if host == "docker.io" {
            "registry-1.docker.io"
        } else {
            host
        };
        let server = Url::parse(&format!("{scheme}://{address}/"))
            .map_err(|error| Error::invalid(format!("\"{host}\" is no host")).caused_by(error))?;
        Ok(Self {
            server,
            repository: repository.clone(),
            is_mirror: false,
        })
    }

    /// The repository at the mirror with the base URL `base`, whose path goes in front of the repository's.
    pub(super) fn mirror(base: &str, repository: &Repository) -> Result<Self> {
        // What stands in front of the host may be a password, and what stands behind the path a token.
        let host_and_path = base.rsplit('@').next().unwrap_or_default();
        let shown = excerpt(host_and_path.split(['?', '#']).next().unwrap_or_default());
        let refused = |why: &str| Error::invalid(format!("mirror \"{shown}\": {why}"));
        let url = Url::parse(base).map_err(|_| refused("not a URL: expected https://HOST[/PATH]"))?;
        let (true, Some(host)) = (matches!(url.scheme(), "http" | "https"), url.host_str()) else {
            return Err(refused(
                "the URL does not start with http:// or https:// and a host",
            ));
        };
        if !url.username().is_empty() || url.password().is_some() {
            // Not repeated: there is a secret in it.
            return Err(Error::invalid(format!(
                "mirror {host}: credentials do not belong into the URL: `docker login {host}` keeps them"
            )));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused("a base URL has no query and no fragment"));
        }
        let prefix = url.path().trim_matches('/');
        let path = [prefix, repository.path()]
            .into_iter()
            .filter(|part| !part.is_empty());
        let path = path.collect::<Vec<_>>().join("/");
        if !is_path(&path) {
            return Err(refused("its path cannot stand in front of a repository"));
        }
        let authority = url
            .port()
            .map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let repository = Repository::at(&authority, &path);
        let server = Url::parse(&format!("{}://{authority}/", url.scheme()))
            .map_err(|_| refused("not a URL: expected https://HOST[/PATH]"))?;
        Ok(Self {
            server,
            repository,
            is_mirror: true,
        })
    }

    /// The URL of something in the repository; `name` is a digest or a tag.
    pub(super) fn url(&self, resource: Resource, name: &str) -> Url {
        let kind = match resource {
            Resource::Manifest => "manifests",
            Resource::Blob => "blobs",
        };
        let mut url = self.server.clone();
        url.set_path(&format!("/v2/{}/{kind}/{name}", self.repository.path()));
        url
    }

    /// Where a registry says that it is one.
    pub(super) fn api(&self) -> Url {
        let mut url = self.server.clone();
        url.set_path("/v2/");
        url
    }

    /// Host and port, for messages and as a key.
    pub(super) fn host(&self) -> &str {
        self.repository.host()
    }

    /// Whether what is sent there can be read by others on the way.
    pub(super) fn is_plain(&self) -> bool {
        self.server.scheme() == "http"
    }
}

/// Whether `host`, with or without a port, is this machine whatever the network says.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(config: &RegistryConfig, repository: &str) -> Vec<String> {
        let endpoints = Endpoint::all(config, &repository.parse().unwrap()).unwrap();
        endpoints
            .iter()
            .map(|endpoint| endpoint.url(Resource::Manifest, "latest").to_string())
            .collect()
    }

    #[test]
    fn loopback_and_named_hosts_are_plain() {
        let config = RegistryConfig {
            plain_http_hosts: vec!["intern.example:5000".into()],
            ..Default::default()
        };
        for (repository, url) in [
            (
                "debian",
                "https://registry-1.docker.io/v2/library/debian/manifests/latest",
            ),
            ("quay.io/a/b", "https://quay.io/v2/a/b/manifests/latest"),
            ("localhost:5000/a", "http://localhost:5000/v2/a/manifests/latest"),
            ("127.8.0.1/a", "http://127.8.0.1/v2/a/manifests/latest"),
            ("[::1]:5000/a", "http://[::1]:5000/v2/a/manifests/latest"),
            (
                "[2001:db8::1]:5000/a",
                "https://[2001:db8::1]:5000/v2/a/manifests/latest",
            ),
            (
                "localhost.example/a",
                "https://localhost.example/v2/a/manifests/latest",
            ),
            (
                "intern.example:5000/a",
                "http://intern.example:5000/v2/a/manifests/latest",
            ),
            ("intern.example/a", "https://intern.example/v2/a/manifests/latest"),
        ] {
            assert_eq!(urls(&config, repository), [url]);
        }
    }

    #[test]
    fn mirrors_come_first_and_their_path_goes_in_front() {
        let mirrors = vec![
            "https://m.example:8443/hub/".to_owned(),
            "http://[::1]:5000".to_owned(),
        ];
        let config = RegistryConfig {
            mirrors: [("docker.io".into(), mirrors)].into(),
            ..Default::default()
        };
        assert_eq!(
            urls(&config, "debian")[..2],
            [
                "https://m.example:8443/v2/hub/library/debian/manifests/latest",
                "http://[::1]:5000/v2/library/debian/manifests/latest",
            ]
        );
        assert_eq!(urls(&config, "quay.io/a").len(), 1);
    }

    #[test]
    fn a_mirror_that_is_no_base_url_is_refused_without_its_password() {
        let repository = "debian".parse().unwrap();
        for base in [
            "ftp://u:hunter2@m.example",
            "m.example",
            "ftp://m.example",
            "https://m.example/?token=hunter2",
            "https://m.example/#hunter2",
            "https://m.example/UP",
            "https://u:hunter2@m.example",
        ] {
            let message = Endpoint::mirror(base, &repository).unwrap_err().to_string();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}

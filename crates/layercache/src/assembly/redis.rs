//! The kind `redis`.

use std::sync::Arc;

use async_trait::async_trait;
use cache_core::Error;
use cache_remote_redis::{RedisConfig, RedisTier, ServerUrls};

use super::kinds::{Kinds, Shared};
use super::part::Part;
use super::remote::{self, Remote};
use crate::config::{ConfigError, Key, Secret, SecretBytes, TierConfig};

pub(super) fn register(kinds: &mut Kinds) {
    kinds.register_with_keys("redis", keys(), part);
}

/// What the keys of a table are read into.
struct Settings {
    /// All but the name, the time-out, the seal, and the servers that `url` names.
    config: RedisConfig,
    url: Option<Secret>,
    lease: Option<bool>,
    remote: Remote,
}

impl Default for Settings {
    fn default() -> Self {
        let config = RedisConfig::new([""; 0]);
        Self {
            url: None,
            lease: None,
            remote: Remote::new(config.timeout),
            config,
        }
    }
}

impl Settings {
    fn leases(&self) -> bool {
        self.lease.unwrap_or(true) && self.remote.takes_layers()
    }
}

fn keys() -> Vec<Key<Settings>> {
    type Of = Key<Settings>;
    let own = [
        Of::secret_url(
            "url",
            "The server: redis://user:password@host:port/database, or rediss:// for TLS. In a file or a variable there may\n\
             be several, separated by white space: nodes of a cluster. A file is read again for each new connection.",
            |settings| &mut settings.url,
        )
        .required("no server is named: put redis://HOST or rediss://HOST")
        .such_as("\"redis://redis.internal:6379/0\"")
        .check(|settings| remote::check_text(&settings.url)),
        Of::secret_urls(
            "urls",
            "Nodes of a cluster, in place of `url`.",
            |settings| &mut settings.config.urls,
        )
        .unset("`url` names the server")
        .such_as("[\"redis://a.internal:6379\", \"redis://b.internal:6379\"]")
        .instead_of("url")
        .check(|settings| match settings.url.is_some() && !settings.config.urls.is_empty() {
            true => Err("the servers are named twice, by `url` as well".into()),
            false => Ok(()),
        }),
        Of::time(
            "ttl",
            "When a layer is forgotten, counted from when it was written.",
            |settings| &mut settings.config.ttl,
        )
        .unset("the server's maxmemory-policy decides")
        .such_as("\"36h\""),
        Of::size(
            "max_layer_bytes",
            "Longer layers are not kept here.",
            |settings| &mut settings.config.max_layer_bytes,
        ),
        Of::file(
            "ca_certificate",
            "The authorities that may have signed the server's certificate, as PEM.",
            |settings| &mut settings.config.ca_certificate,
        )
        .unset("those of the system")
        .such_as("\"/etc/redis/ca.pem\""),
        Of::flag(
            "lease",
            "Let one worker fetch a layer that none has, while the others wait for it.",
            |settings| &mut settings.lease,
        )
        .follows("true, unless nothing is written back", |settings| settings.leases().into())
        .check(|settings| match settings.lease == Some(true) && !settings.leases() {
            true => Err(
                "workers would wait for layers that nobody writes back, as `read_only` or `write_back` says"
                    .into(),
            ),
            false => Ok(()),
        }),
    ];
    let shared = remote::keys().map(|key| key.of_part(|settings: &mut Settings| &mut settings.remote));
    own.into_iter().chain(shared).collect()
}

fn part(settings: Settings, tier: &TierConfig, _shared: &Shared) -> Result<Part, ConfigError> {
    let has_leases = settings.leases();
    let Settings {
        mut config,
        url,
        remote,
        lease: _,
    } = settings;
    config = config
        .with_name(tier.name())
        .with_seal(remote.seal()?)
        .with_timeout(remote.timeout);
    if let Some(url) = url {
        config.urls = split(url.first()).unwrap_or_default();
        if url.is_in_file() {
            config = config.with_current_urls(Arc::new(UrlsInFile(url)));
        }
    }
    let servers = config.redacted_urls().join(", ");
    let redis = RedisTier::new(config)?;
    let leases = has_leases.then(|| redis.leases());
    let part = remote.part(redis.clone(), leases).with_description(servers);
    Ok(part.with_check(move || {
        let redis = redis.clone();
        async move { redis.check().await }
    }))
}

/// Reads the URLs from a file again: a new password in it is one for the next connection.
#[derive(Debug)]
struct UrlsInFile(Secret);

#[async_trait]
impl ServerUrls for UrlsInFile {
    async fn urls(&self) -> cache_core::Result<Vec<String>> {
        let secret = self.0.current().await;
        split(&secret).ok_or_else(|| Error::permanent("the file with the URL is not valid UTF-8"))
    }
}

/// Splits URLs at white space, which no URL has.
fn split(secret: &SecretBytes) -> Option<Vec<String>> {
    Some(secret.text()?.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use crate::{Config, Kinds, Stack};

    fn assemble(keys: &str) -> Result<Stack, String> {
        let config = Config::parse(&format!("[[tier]]\nkind = \"redis\"\n{keys}")).unwrap();
        Stack::assemble(&config, &Kinds::builtin()).map_err(|error| error.to_string())
    }

    const URL: &str = "url = \"redis://u:hunter2@redis.invalid:7000/1\"\n";

    #[tokio::test]
    async fn leases_go_with_what_is_written_back() {
        for (keys, leases) in [
            ("", Some(true)),
            ("lease = false", Some(false)),
            ("write_back = \"off\"", Some(false)),
            ("read_only = true", Some(false)),
            ("lease = true", Some(true)),
            ("lease = true\nwrite_back = \"off\"", None),
            ("lease = true\nread_only = true", None),
        ] {
            match (assemble(&format!("{URL}{keys}")), leases) {
                (Ok(stack), Some(leases)) => {
                    let checked = stack.check().await;
                    assert_eq!(checked[0].leases, leases, "{keys}");
                }
                (Err(error), None) => assert!(error.contains("`lease`: "), "{error}"),
                (other, _) => panic!("{keys}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn the_servers_are_named_once_and_shown_without_passwords() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("urls");
        std::fs::write(&file, "redis://:hunter2@a.invalid\nredis://:hunter2@b.invalid\n").unwrap();
        for (keys, at) in [
            (URL.to_owned(), "redis://***@redis.invalid:7000/1"),
            (
                "urls = [\"redis://:hunter2@a.invalid\", \"redis://:hunter2@b.invalid\"]".to_owned(),
                "redis://***@a.invalid, redis://***@b.invalid",
            ),
            (
                format!("url_file = {file:?}"),
                "redis://***@a.invalid, redis://***@b.invalid",
            ),
        ] {
            let stack = assemble(&keys).unwrap();
            let checked = stack.check().await;
            assert_eq!(checked[0].description, at);
            assert!(!format!("{stack:?} {checked:?}").contains("hunter2"));
        }
        for (keys, words) in [
            ("", "`url`: no server is named"),
            ("url = \"http://hunter2@a\"", "redis://"),
            ("urls = []", "`urls`: expected a list of strings"),
            (
                "urls = \"redis://:hunter2@a\"",
                "`urls`: expected a list of strings",
            ),
            (
                "urls = [\"redis://:hunter2@a\", 7]",
                "`urls`: expected a list of strings",
            ),
            ("url = [\"redis://:hunter2@a\"]", "`url`: expected a string"),
            (
                "url = \"redis://:hunter2@a\"\nurls = [\"redis://:hunter2@a\"]",
                "named twice",
            ),
            (
                "url_env = \"redis://:hunter2@a\"",
                "`url_env`: the environment variable that it names is not set",
            ),
            (
                "url = \"redis://:hunter2@a\"\nttl = true",
                "`ttl`: expected a time",
            ),
            (
                "url = \"redis://:hunter2@a\"\nca_certificate = \"/no/such\"",
                "/no/such cannot be read",
            ),
            (
                "url = \"rediss://:hunter2@a\"\nca_certificate = \"/dev/null\"",
                "not PEM",
            ),
            (
                "url = \"redis://:hunter2@a\"\npasswort = \"hunter2\"",
                "unknown field `passwort`",
            ),
        ] {
            let error = assemble(keys).unwrap_err();
            assert!(error.contains(words), "{words:?} is missing for {keys}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}

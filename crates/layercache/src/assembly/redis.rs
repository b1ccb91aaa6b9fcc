//! The kind `redis`.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cache_core::Error;
use cache_remote_redis::{RedisConfig, RedisTier, ServerUrls};

use super::keys::Keys;
use super::remote::{self, Remote};
use super::secret::Secret;
use super::secret_file::LiveSecret;
use super::{Part, Shared};
use crate::config::Size;
use crate::{ConfigError, Setting, TierConfig, Unset, ValueType};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest file of certificates in bytes.
const MAX_CERTIFICATES_LEN: u64 = 1 << 20;

/// What is described of the kind.
pub(super) fn settings() -> Vec<Setting> {
    let own = [
        Setting::new(
            "url",
            ValueType::SecretUrl,
            "The server: redis://user:password@host:port/database, or rediss:// for TLS. In a file or a variable there may\n\
             be several, separated by white space: nodes of a cluster. A file is read again for each new connection.",
            Unset::Required,
        )
        .such_as("\"redis://redis.internal:6379/0\"")
        .or_elsewhere(),
        Setting::new(
            "urls",
            ValueType::SecretUrls,
            "Nodes of a cluster, in place of `url`.",
            Unset::Nothing("`url` names the server"),
        )
        .such_as("[\"redis://a.internal:6379\", \"redis://b.internal:6379\"]")
        .instead_of("url"),
        Setting::new(
            "ttl",
            ValueType::Time,
            "When a layer is forgotten, counted from when it was written.",
            Unset::Nothing("the server's maxmemory-policy decides"),
        )
        .such_as("\"36h\""),
        Setting::new(
            "max_layer_bytes",
            ValueType::Size,
            "Longer layers are not kept here.",
            Unset::Value("\"4GiB\""),
        ),
        Setting::new(
            "ca_certificate",
            ValueType::Path,
            "The authorities that may have signed the server's certificate, as PEM.",
            Unset::Nothing("those of the system"),
        )
        .such_as("\"/etc/redis/ca.pem\""),
        Setting::new(
            "lease",
            ValueType::Flag,
            "Let one worker fetch a layer that none has, while the others wait for it.",
            Unset::Follows {
                how: "true, unless nothing is written back",
                value: |table| {
                    let off = table.get("write_back").and_then(toml::Value::as_str) == Some("off");
                    toml::Value::Boolean(!off && !remote::is_set(table, "read_only"))
                },
            },
        ),
    ];
    [own.as_slice(), &remote::settings("\"2s\"")].concat()
}

pub(super) fn part(tier: &TierConfig, _shared: &Shared) -> Result<Part, ConfigError> {
    let Described {
        config,
        remote,
        lease,
    } = read(tier)?;
    let servers = config.redacted_urls().join(", ");
    let redis = RedisTier::new(config)?;
    let leases = lease.then(|| redis.leases());
    let part = remote.part(redis.clone(), leases).with_description(servers);
    Ok(part.with_check(move || {
        let redis = redis.clone();
        async move { redis.check().await }
    }))
}

/// What a table describes.
#[derive(Debug)]
pub(super) struct Described {
    config: RedisConfig,
    remote: Remote,
    lease: bool,
}

pub(super) fn read(tier: &TierConfig) -> Result<Described, ConfigError> {
    let mut keys = Keys::of(tier)?;
    let (urls, secret) = urls(&mut keys)?;
    let remote = Remote::take(&mut keys, DEFAULT_TIMEOUT)?;
    let mut config = RedisConfig::new(urls)
        .with_name(tier.name())
        .with_ttl(keys.duration("ttl")?)
        .with_seal(remote.seal.clone())
        .with_timeout(remote.timeout)
        .with_ca_certificate(certificates(&mut keys)?);
    if let Some(secret) = secret.filter(LiveSecret::is_in_file) {
        config = config.with_current_urls(Arc::new(UrlsInFile(secret)));
    }
    if let Some(Size(max)) = keys.value("max_layer_bytes")? {
        config = config.with_max_layer_bytes(max);
    }
    let lease = match keys.value("lease")? {
        Some(true) if !remote.takes_layers() => {
            let why =
                "workers would wait for layers that nobody writes back, as `read_only` or `write_back` says";
            return Err(keys.mistake("lease", why));
        }
        lease => lease.unwrap_or(true) && remote.takes_layers(),
    };
    keys.end()?;
    Ok(Described {
        config,
        remote,
        lease,
    })
}

/// The URLs that stand in a file: a new password in it is one for the next connection.
#[derive(Debug)]
struct UrlsInFile(LiveSecret);

#[async_trait]
impl ServerUrls for UrlsInFile {
    async fn urls(&self) -> cache_core::Result<Vec<String>> {
        let secret = self.0.current().await;
        split(&secret).ok_or_else(|| Error::permanent("the file with the URL is not valid UTF-8"))
    }
}

/// The URLs in a file or the environment are separated by white space, which no URL has.
fn split(secret: &Secret) -> Option<Vec<String>> {
    Some(secret.text()?.split_whitespace().map(str::to_owned).collect())
}

/// The URL of a server, or those of nodes of a cluster, and the secret that they stand in. Each may hold a password.
fn urls(keys: &mut Keys<'_>) -> Result<(Vec<String>, Option<LiveSecret>), ConfigError> {
    let one = keys.live_secret("url")?;
    match (one, keys.raw("urls")) {
        (Some(secret), None) => {
            let urls = split(secret.first());
            let urls = urls.ok_or_else(|| keys.mistake("url", "text that is not valid UTF-8"))?;
            Ok((urls, Some(secret)))
        }
        (None, Some(toml::Value::Array(several))) => {
            let strings = several.iter().map(|url| url.as_str().map(str::to_owned));
            strings
                .collect::<Option<Vec<_>>>()
                .filter(|urls| !urls.is_empty())
                .map(|urls| (urls, None))
                .ok_or_else(|| keys.mistake("urls", "expected a list of strings"))
        }
        (None, Some(_)) => Err(keys.mistake("urls", "expected a list of strings")),
        (Some(_), Some(_)) => Err(keys.mistake("urls", "the servers are named twice, by `url` as well")),
        (None, None) => Err(keys.mistake("url", "no server is named: put redis://HOST or rediss://HOST")),
    }
}

fn certificates(keys: &mut Keys<'_>) -> Result<Option<Vec<u8>>, ConfigError> {
    const KEY: &str = "ca_certificate";
    let Some(path) = keys.value::<PathBuf>(KEY)? else {
        return Ok(None);
    };
    let mut pem = Vec::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(MAX_CERTIFICATES_LEN + 1).read_to_end(&mut pem))
        .map_err(|error| keys.mistake(KEY, &format!("{} cannot be read ({error})", path.display())))?;
    if pem.len() as u64 > MAX_CERTIFICATES_LEN {
        return Err(keys.mistake(KEY, "a file longer than 1 MiB"));
    }
    Ok(Some(pem))
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

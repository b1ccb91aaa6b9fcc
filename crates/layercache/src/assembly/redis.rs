//! The kind `redis`.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use cache_core::SourceOptions;
use cache_remote_redis::{RedisConfig, RedisTier};

use super::keys::Keys;
use super::remote::Remote;
use super::{Part, Shared};
use crate::{ConfigError, TierConfig};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest file of certificates in bytes.
const MAX_CERTIFICATES_LEN: u64 = 1 << 20;

pub(super) fn part(tier: &TierConfig, _shared: &Shared) -> Result<Part, ConfigError> {
    let mut keys = Keys::of(tier);
    let urls = urls(&mut keys)?;
    let remote = Remote::take(&mut keys, DEFAULT_TIMEOUT)?;
    let mut config = RedisConfig::new(urls)
        .with_name(tier.name())
        .with_ttl(keys.duration("ttl")?)
        .with_seal(remote.seal.clone())
        .with_timeout(remote.timeout)
        .with_ca_certificate(certificates(&mut keys)?);
    if let Some(ByteSize(max)) = keys.value("max_layer_bytes")? {
        config = config.with_max_layer_bytes(max);
    }
    let lease = match keys.value("lease")? {
        Some(true) if !remote.takes_layers() => {
            let why =
                "workers would wait for layers that nobody writes back, as `read_only` or `write_back` says,";
            return Err(keys.mistake("lease", why));
        }
        lease => lease.unwrap_or(true) && remote.takes_layers(),
    };
    keys.end()?;

    let servers = config.redacted_urls().join(", ");
    let redis = RedisTier::new(config)?;
    let mut options = SourceOptions::default();
    if lease {
        options = options.with_leases(redis.leases());
    }
    let part = remote.part(redis.clone(), options).with_description(servers);
    Ok(part.with_check(move || {
        let redis = redis.clone();
        async move { redis.check().await }
    }))
}

/// The URL of a server, or those of nodes of a cluster. Each may hold a password. In a file or the environment they are separated by
/// white space, which no URL has.
fn urls(keys: &mut Keys<'_>) -> Result<Vec<String>, ConfigError> {
    let one = keys.secret("url")?;
    match (one, keys.raw("urls")) {
        (Some(secret), None) => {
            let text = secret.text();
            let text = text.ok_or_else(|| keys.mistake("url", "text that is not valid UTF-8"))?;
            Ok(text.split_whitespace().map(str::to_owned).collect())
        }
        (None, Some(toml::Value::Array(several))) => {
            let strings = several.iter().map(|url| url.as_str().map(str::to_owned));
            strings
                .collect::<Option<Vec<_>>>()
                .filter(|urls| !urls.is_empty())
                .ok_or_else(|| keys.mistake("urls", "expected a list of strings"))
        }
        (None, Some(_)) => Err(keys.mistake("urls", "expected a list of strings")),
        (Some(_), Some(_)) => Err(keys.mistake("urls", "the servers are named twice: by `url` and")),
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

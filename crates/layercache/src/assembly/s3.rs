//! The kind `s3`.

use std::time::Duration;

use cache_core::SourceOptions;
use cache_remote_s3::{S3Config, S3Tier};

use super::keys::Keys;
use super::remote::Remote;
use super::{Part, Shared};
use crate::{ConfigError, TierConfig};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn part(tier: &TierConfig, _shared: &Shared) -> Result<Part, ConfigError> {
    let mut keys = Keys::of(tier);
    let pair = (
        text(&mut keys, "access_key_id")?,
        text(&mut keys, "secret_access_key")?,
    );
    let remote = Remote::take(&mut keys, DEFAULT_TIMEOUT)?;
    let bucket: Option<String> = keys.value("bucket")?;
    let bucket = bucket.ok_or_else(|| keys.mistake("bucket", "no bucket is named"))?;
    let endpoint: Option<String> = keys.value("endpoint")?;
    let prefix: String = keys.value("prefix")?.unwrap_or_default();
    let mut config = S3Config::new(&*bucket)
        .with_name(tier.name())
        .with_endpoint(endpoint.clone())
        .with_region(keys.value("region")?)
        .with_prefix(prefix.clone())
        .with_path_style(keys.value("path_style")?)
        .with_seal(remote.seal.clone())
        .with_timeout(remote.timeout);
    config = match pair {
        (Some(id), Some(secret)) => config.with_credentials(id, secret),
        (None, None) => config,
        (Some(_), None) => return Err(keys.mistake("secret_access_key", "nothing goes with `access_key_id`")),
        (None, Some(_)) => return Err(keys.mistake("access_key_id", "nothing goes with `secret_access_key`")),
    };
    keys.end()?;

    // Refuses an endpoint with credentials.
    let s3 = S3Tier::new(config)?;
    let mut description = format!("s3://{bucket}/{prefix}");
    if let Some(endpoint) = endpoint {
        description = format!("{description} at {endpoint}");
    }
    let part = remote
        .part(s3.clone(), SourceOptions::default())
        .with_description(description);
    Ok(part.with_check(move || {
        let s3 = s3.clone();
        async move { s3.check().await }
    }))
}

fn text(keys: &mut Keys<'_>, key: &str) -> Result<Option<String>, ConfigError> {
    let Some(secret) = keys.secret(key)? else {
        return Ok(None);
    };
    let text = secret.text().map(str::to_owned);
    text.map(Some)
        .ok_or_else(|| keys.mistake(key, "text that is not valid UTF-8"))
}

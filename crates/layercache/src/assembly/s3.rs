//! The kind `s3`.

use std::time::Duration;

use cache_remote_s3::{S3Config, S3Tier};

use super::keys::Keys;
use super::remote::Remote;
use super::{Part, Shared};
use crate::{ConfigError, TierConfig};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn part(tier: &TierConfig, _shared: &Shared) -> Result<Part, ConfigError> {
    let mut keys = Keys::of(tier)?;
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
    let part = remote.part(s3.clone(), None).with_description(description);
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

#[cfg(test)]
mod tests {
    use crate::{Config, Kinds, Stack};

    fn config(keys: &str) -> Config {
        Config::parse(&format!("[[tier]]\nkind = \"s3\"\n{keys}")).unwrap()
    }

    fn assemble(keys: &str) -> Result<Stack, String> {
        Stack::assemble(&config(keys), &Kinds::builtin()).map_err(|error| error.to_string())
    }

    const PAIR: &str = "access_key_id = \"hunter1\"\nsecret_access_key = \"hunter2\"\n";
    const BUCKET: &str = "bucket = \"layers\"\n";

    #[test]
    fn nothing_shows_a_key() {
        let keys = format!(
            "{PAIR}{BUCKET}seal_key = \"hunter3-hunter3-hunter3\"\nendpoint = \"http://127.0.0.1:1\""
        );
        let (config, stack) = (config(&keys), assemble(&keys).unwrap());
        let shown = format!("{config:?} {stack:?}");
        assert!(
            !shown.contains("hunter") && shown.contains("secret_access_key"),
            "{shown}"
        );
    }

    #[test]
    fn mistakes_are_named_without_the_keys() {
        for (keys, words) in [
            (PAIR.to_owned(), "in `bucket`"),
            (
                format!("{BUCKET}access_key_id = \"hunter1\""),
                "in `secret_access_key`",
            ),
            (
                format!("{BUCKET}secret_access_key = \"hunter2\""),
                "in `access_key_id`",
            ),
            (
                format!("{BUCKET}access_key_id = 1001\nsecret_access_key = \"hunter2\""),
                "expected a string in `access_key_id`",
            ),
            (
                format!("{BUCKET}access_key_id = \"hunter1\"\nsecret_access_key = 1001"),
                "expected a string in `secret_access_key`",
            ),
            (
                format!("{BUCKET}{PAIR}secret_access_key_env = \"hunter2\""),
                "two places",
            ),
            (
                format!("{BUCKET}{PAIR}secret = \"hunter2\""),
                "unknown field `secret`",
            ),
            (
                format!("{BUCKET}{PAIR}endpoint = \"http://hunter1:hunter2@host\""),
                "endpoint",
            ),
            (format!("{BUCKET}{PAIR}path_style = 7"), "in `path_style`"),
            (format!("{BUCKET}{PAIR}seal_key = \"hunter3\""), "in `seal_key`"),
        ] {
            let error = assemble(&keys).unwrap_err();
            assert!(error.contains(words), "{words:?} is missing for {keys}: {error}");
            assert!(!error.contains("hunter") && !error.contains("1001"), "{error}");
        }
    }
}

//! The kind `s3`.

use std::sync::Arc;
use std::time::Duration;

use cache_remote_s3::{KeyPair, S3Config, S3Tier};

use super::keys::Keys;
use super::live_pair::LivePair;
use super::remote::{self, Remote};
use super::secret_file::LiveSecret;
use super::{Part, Shared};
use crate::{ConfigError, Setting, TierConfig, Unset, ValueType};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// What is described of the kind.
pub(super) fn settings() -> Vec<Setting> {
    let own = [
        Setting::new("bucket", ValueType::Text, "The bucket, which has to be there.", Unset::Required)
            .such_as("\"layers\""),
        Setting::new(
            "prefix",
            ValueType::Text,
            "What every key in the bucket begins with; with a / at its end it is a folder.",
            Unset::Value("\"\""),
        )
        .such_as("\"prod/\""),
        Setting::new(
            "region",
            ValueType::Text,
            "The region of the bucket.",
            Unset::Nothing("as the environment or ~/.aws says; with an `endpoint`, us-east-1 where they do not"),
        )
        .such_as("\"eu-central-1\""),
        Setting::new("endpoint", ValueType::Url, "A server other than Amazon's.", Unset::Nothing("Amazon's"))
            .such_as("\"https://minio.internal:9000\""),
        Setting::new(
            "path_style",
            ValueType::Flag,
            "Name the bucket in the path of a URL, and not in its host.",
            Unset::Follows {
                how: "true where an `endpoint` is set",
                value: |table| toml::Value::Boolean(reached_by(table).path_style()),
            },
        ),
        Setting::new(
            "payload_signing",
            ValueType::Flag,
            "Sign the parts of a layer with their bytes, so that the server refuses what was changed on its way. Both ends hash the\n\
             layer once more for that. Without it, whoever reads what was changed finds it wrong and has it removed.",
            Unset::Follows {
                how: "true where the `endpoint` has no TLS",
                value: |table| toml::Value::Boolean(reached_by(table).payload_signing()),
            },
        ),
        Setting::new(
            "access_key_id",
            ValueType::Secret,
            "The ID of the access key. It comes with a `secret_access_key`, or neither is set. Files are read again when they\n\
             change.",
            Unset::Nothing("AWS's usual chain is asked (environment, profile, web identity, instance)"),
        )
        .such_as("\"/run/secrets/s3-key-id\"")
        .or_elsewhere(),
        Setting::new(
            "secret_access_key",
            ValueType::Secret,
            "The access key.",
            Unset::Nothing("as for `access_key_id`"),
        )
        .such_as("\"/run/secrets/s3-key\"")
        .or_elsewhere(),
    ];
    [own.as_slice(), &remote::settings("\"10s\"")].concat()
}

/// What follows from the `endpoint` of a table.
fn reached_by(table: &toml::Table) -> S3Config {
    let endpoint = table.get("endpoint").and_then(toml::Value::as_str);
    S3Config::new("").with_endpoint(endpoint.map(Into::into))
}

pub(super) fn part(tier: &TierConfig, _shared: &Shared) -> Result<Part, ConfigError> {
    let Described {
        config,
        remote,
        description,
    } = read(tier)?;
    // Refuses an endpoint with credentials.
    let s3 = S3Tier::new(config)?;
    let part = remote.part(s3.clone(), None).with_description(description);
    Ok(part.with_check(move || {
        let s3 = s3.clone();
        async move { s3.check().await }
    }))
}

/// What a table describes.
#[derive(Debug)]
pub(super) struct Described {
    config: S3Config,
    remote: Remote,
    description: String,
}

pub(super) fn read(tier: &TierConfig) -> Result<Described, ConfigError> {
    let mut keys = Keys::of(tier)?;
    let pair = (
        keys.live_secret("access_key_id")?,
        keys.live_secret("secret_access_key")?,
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
        .with_payload_signing(keys.value("payload_signing")?)
        .with_seal(remote.seal.clone())
        .with_timeout(remote.timeout);
    config = match pair {
        (Some(id), Some(secret)) => with_key_pair(config, &keys, tier.name(), id, secret)?,
        (None, None) => config,
        (Some(_), None) => return Err(keys.mistake("secret_access_key", "nothing goes with `access_key_id`")),
        (None, Some(_)) => return Err(keys.mistake("access_key_id", "nothing goes with `secret_access_key`")),
    };
    keys.end()?;
    let mut description = format!("s3://{bucket}/{prefix}");
    if let Some(endpoint) = endpoint {
        description = format!("{description} at {endpoint}");
    }
    Ok(Described {
        config,
        remote,
        description,
    })
}

fn with_key_pair(
    config: S3Config,
    keys: &Keys<'_>,
    name: &str,
    id: LiveSecret,
    secret: LiveSecret,
) -> Result<S3Config, ConfigError> {
    let text = |key, secret: &LiveSecret| {
        let text = secret.first().text().map(str::to_owned);
        text.ok_or_else(|| keys.mistake(key, "text that is not valid UTF-8"))
    };
    let first = (text("access_key_id", &id)?, text("secret_access_key", &secret)?);
    // The first pair is checked before anything is asked, whether it stays or not.
    let config = config.with_credentials(first.0.clone(), first.1.clone());
    Ok(match id.is_in_file() || secret.is_in_file() {
        true => {
            let first = KeyPair::new(first.0, first.1);
            config.with_key_pairs(Arc::new(LivePair::new(name, first, id, secret)))
        }
        false => config,
    })
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
            (PAIR.to_owned(), "`bucket`: "),
            (
                format!("{BUCKET}access_key_id = \"hunter1\""),
                "`secret_access_key`: ",
            ),
            (
                format!("{BUCKET}secret_access_key = \"hunter2\""),
                "`access_key_id`: ",
            ),
            (
                format!("{BUCKET}access_key_id = 1001\nsecret_access_key = \"hunter2\""),
                "`access_key_id`: expected a string",
            ),
            (
                format!("{BUCKET}access_key_id = \"hunter1\"\nsecret_access_key = 1001"),
                "`secret_access_key`: expected a string",
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
            (format!("{BUCKET}{PAIR}path_style = 7"), "`path_style`: "),
            (format!("{BUCKET}{PAIR}seal_key = \"hunter3\""), "`seal_key`: "),
        ] {
            let error = assemble(&keys).unwrap_err();
            assert!(error.contains(words), "{words:?} is missing for {keys}: {error}");
            assert!(!error.contains("hunter") && !error.contains("1001"), "{error}");
        }
    }
}

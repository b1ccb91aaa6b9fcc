//! The kind `s3`.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use cache_core::Error;
use cache_remote_s3::{KeyPair, KeyPairs, S3Config, S3Tier};

use super::kinds::{Kinds, Shared};
use super::part::Part;
use super::remote::{self, Remote};
use crate::config::{ConfigError, Key, Secret, SecretBytes, TierConfig};

pub(super) fn register(kinds: &mut Kinds) {
    kinds.register_with_keys("s3", keys(), part);
}

/// What the keys of a table are read into.
struct Settings {
    /// All but the name, the time-out, the seal and the key pair.
    config: S3Config,
    access_key_id: Option<Secret>,
    secret_access_key: Option<Secret>,
    remote: Remote,
}

impl Default for Settings {
    fn default() -> Self {
        let config = S3Config::new("");
        Self {
            access_key_id: None,
            secret_access_key: None,
            remote: Remote::new(config.timeout),
            config,
        }
    }
}

fn keys() -> Vec<Key<Settings>> {
    type Of = Key<Settings>;
    let own = [
        Of::text("bucket", "The bucket, which has to be there.", |settings| &mut settings.config.bucket)
            .required("no bucket is named")
            .such_as("\"layers\""),
        Of::text(
            "prefix",
            "What every key in the bucket begins with; with a / at its end it is a folder.",
            |settings| &mut settings.config.prefix,
        )
        .such_as("\"prod/\""),
        Of::text("region", "The region of the bucket.", |settings| &mut settings.config.region)
            .unset("as the environment or ~/.aws says; with an `endpoint`, us-east-1 where they do not")
            .such_as("\"eu-central-1\""),
        Of::url("endpoint", "A server other than Amazon's.", |settings| &mut settings.config.endpoint)
            .unset("Amazon's")
            .such_as("\"https://minio.internal:9000\""),
        Of::flag(
            "path_style",
            "Name the bucket in the path of a URL, and not in its host.",
            |settings| &mut settings.config.path_style,
        )
        .follows("true where an `endpoint` is set", |settings| settings.config.path_style().into()),
        Of::flag(
            "payload_signing",
            "Sign the parts of a layer with their bytes, so that the server refuses what was changed on its way. Both ends hash the\n\
             layer once more for that. Without it, whoever reads what was changed finds it wrong and has it removed.",
            |settings| &mut settings.config.payload_signing,
        )
        .follows("true where the `endpoint` has no TLS", |settings| {
            settings.config.payload_signing().into()
        }),
        Of::secret(
            "access_key_id",
            "The ID of the access key. It comes with a `secret_access_key`, or neither is set. Files are read again when they\n\
             change.",
            |settings| &mut settings.access_key_id,
        )
        .unset("AWS's usual chain is asked (environment, profile, web identity, instance)")
        .such_as("\"/run/secrets/s3-key-id\"")
        .check(|settings| match (&settings.access_key_id, &settings.secret_access_key) {
            (None, Some(_)) => Err("nothing goes with `secret_access_key`".into()),
            (id, _) => remote::check_text(id),
        }),
        Of::secret("secret_access_key", "The access key.", |settings| &mut settings.secret_access_key)
            .unset("as for `access_key_id`")
            .such_as("\"/run/secrets/s3-key\"")
            .check(|settings| match (&settings.access_key_id, &settings.secret_access_key) {
                (Some(_), None) => Err("nothing goes with `access_key_id`".into()),
                (_, secret) => remote::check_text(secret),
            }),
    ];
    let shared = remote::keys().map(|key| key.of_part(|settings: &mut Settings| &mut settings.remote));
    own.into_iter().chain(shared).collect()
}

fn part(settings: Settings, tier: &TierConfig, _shared: &Shared) -> Result<Part, ConfigError> {
    let Settings {
        config,
        access_key_id,
        secret_access_key,
        remote,
    } = settings;
    let mut description = format!("s3://{}/{}", config.bucket, config.prefix);
    if let Some(endpoint) = &config.endpoint {
        description = format!("{description} at {endpoint}");
    }
    let mut config = config
        .with_name(tier.name())
        .with_seal(remote.seal()?)
        .with_timeout(remote.timeout);
    if let (Some(id), Some(secret)) = (access_key_id, secret_access_key) {
        let [first_id, first_secret] =
            [&id, &secret].map(|secret| secret.first().text().unwrap_or_default().to_owned());
        let first = KeyPair::new(first_id.clone(), first_secret.clone());
        // The first pair is checked before anything is asked, whether it stays or not.
        config = config.with_credentials(first_id, first_secret);
        if id.is_in_file() || secret.is_in_file() {
            config = config.with_key_pairs(Arc::new(LivePair::new(tier.name(), first, id, secret)));
        }
    }
    // Refuses an endpoint with credentials.
    let s3 = S3Tier::new(config)?;
    let part = remote.part(s3.clone(), None).with_description(description);
    Ok(part.with_check(move || {
        let s3 = s3.clone();
        async move { s3.check().await }
    }))
}

/// A key pair of which at least one part stands in a file, which may be replaced while the stack lives.
#[derive(Debug)]
struct LivePair {
    /// The name of the tier.
    name: String,
    id: Secret,
    secret: Secret,
    /// A mutex of std: nothing is awaited under it.
    last: Mutex<LastPair>,
}

/// The last key pair that the files held.
#[derive(Debug)]
struct LastPair {
    pair: KeyPair,
    /// Whether the log says already that the files hold no pair.
    complained: bool,
}

impl LivePair {
    /// Follows a pair for the tier of this name. `first` was read from `id` and `secret`.
    fn new(name: &str, first: KeyPair, id: Secret, secret: Secret) -> Self {
        let last = LastPair {
            pair: first,
            complained: false,
        };
        Self {
            name: name.to_owned(),
            id,
            secret,
            last: Mutex::new(last),
        }
    }
}

#[async_trait]
impl KeyPairs for LivePair {
    /// Returns the pair in the files. While they hold none, as when one was written wrongly, it is
    /// the last one, both parts of it.
    async fn key_pair(&self) -> cache_core::Result<KeyPair> {
        let now = pair(&self.id.current().await, &self.secret.current().await);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match now {
            Ok(pair) => {
                *last = LastPair {
                    pair,
                    complained: false,
                }
            }
            Err(why) if !last.complained => {
                tracing::warn!(
                    tier = self.name,
                    why = why.message(),
                    "the files of the access key hold no pair: the last one stays in use"
                );
                last.complained = true;
            }
            Err(_) => {}
        }
        Ok(last.pair.clone())
    }
}

fn pair(id: &SecretBytes, secret: &SecretBytes) -> cache_core::Result<KeyPair> {
    let part = |what: &str, secret: &SecretBytes| {
        let text = secret.text().map(str::to_owned);
        text.ok_or_else(|| Error::permanent(format!("the {what} is not valid UTF-8")))
    };
    let pair = KeyPair::new(part("access key ID", id)?, part("secret access key", secret)?);
    pair.check()?;
    Ok(pair)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Config, Stack};

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

    /// A pair that was written wrongly would be refused until somebody notices, and the tier passed over for as long.
    #[tokio::test(start_paused = true)]
    async fn while_the_files_hold_no_pair_the_last_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let live = |name: &str, contents: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, contents).unwrap();
            Secret::in_file(path).unwrap()
        };
        let mut expected = KeyPair::new("id-1", "key-1");
        let (id, key) = (live("id", "id-1"), live("key", "key-1"));
        let pairs = LivePair::new("shared", expected.clone(), id, key);
        let log = tempfile::NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(log.reopen().unwrap())
            .finish();
        let _subscriber = tracing::subscriber::set_default(subscriber);

        let wrong: &[(&[u8], &[u8], &str)] = &[
            (b"id-2", b"hunter 2", "the secret access key is empty"),
            (b"id-2", b"hunter2\nhunter2", "the secret access key is empty"),
            (
                b"id-2",
                b"hunter2\xff",
                "the secret access key is not valid UTF-8",
            ),
            (b"hunter2\xff", b"key-2", "the access key ID is not valid UTF-8"),
            (b"hunter 2", b"key-2", "the access key ID is empty"),
        ];
        for (round, (id, key, words)) in wrong.iter().enumerate() {
            let warned = || std::fs::read_to_string(log.path()).unwrap();
            let before = warned().len();
            std::fs::write(dir.path().join("id"), id).unwrap();
            std::fs::write(dir.path().join("key"), key).unwrap();
            for _ in 0..2 {
                tokio::time::advance(Duration::from_secs(2)).await;
                assert!(pairs.key_pair().await.unwrap() == expected, "{words}");
            }
            let said = warned().split_off(before);
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(
                said.contains(words) && said.contains("the files of the access key"),
                "{said}"
            );
            assert!(said.contains("shared") && !said.contains("hunter"), "{said}");

            // Mended, it is taken, and the next mistake is said again.
            let mended = (format!("id-{round}"), format!("key-{round}"));
            std::fs::write(dir.path().join("id"), &mended.0).unwrap();
            std::fs::write(dir.path().join("key"), &mended.1).unwrap();
            tokio::time::advance(Duration::from_secs(2)).await;
            expected = KeyPair::new(mended.0, mended.1);
            assert!(pairs.key_pair().await.unwrap() == expected, "{words}");
        }
    }
}

//! A key pair in files that are replaced while the stack lives.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use cache_core::Error;
use cache_remote_s3::{KeyPair, KeyPairs};

use super::secret::Secret;
use super::secret_file::LiveSecret;

/// A key pair of which a part stands in a file at least.
#[derive(Debug)]
pub(super) struct LivePair {
    /// Of the tier.
    name: String,
    id: LiveSecret,
    secret: LiveSecret,
    /// A mutex of std: nothing is awaited under it.
    last: Mutex<LastPair>,
}

/// What was a key pair when it was last looked at.
#[derive(Debug)]
struct LastPair {
    pair: KeyPair,
    /// Whether it was said that what stands there now is none.
    complained: bool,
}

impl LivePair {
    /// For the tier of this name. `first` is what was read from `id` and `secret`.
    pub(super) fn new(name: &str, first: KeyPair, id: LiveSecret, secret: LiveSecret) -> Self {
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
    /// While what stands in the files is no pair, as when one was written wrongly, it is the last one, both parts of it.
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

fn pair(id: &Secret, secret: &Secret) -> cache_core::Result<KeyPair> {
    let part = |what: &str, secret: &Secret| {
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

    use super::super::secret;
    use super::*;

    /// A pair that was written wrongly would be refused until somebody notices, and the tier passed over for as long.
    #[tokio::test(start_paused = true)]
    async fn while_the_files_hold_no_pair_the_last_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let live = |name: &str, contents: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, contents).unwrap();
            LiveSecret::new(secret::read_file(&path).unwrap(), Some(path))
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

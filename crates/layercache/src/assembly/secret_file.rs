//! A secret in a file that is replaced while the stack lives.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use super::secret::{self, Secret};

/// How long what was read counts as what stands in the file. Every request to a store may ask: that is no reason to read it
/// more often.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// A secret that may change while the stack lives, if it stands in a file: in the configuration and the environment nothing
/// changes.
#[derive(Debug)]
pub(super) struct LiveSecret {
    first: Secret,
    file: Option<SecretFile>,
}

impl LiveSecret {
    pub(super) fn new(first: Secret, file: Option<PathBuf>) -> Self {
        let file = file.map(|path| SecretFile::new(path, first.clone()));
        Self { first, file }
    }

    /// As it was when the configuration was read.
    pub(super) fn first(&self) -> &Secret {
        &self.first
    }

    pub(super) fn is_in_file(&self) -> bool {
        self.file.is_some()
    }

    /// As it is now: see [`SecretFile::current`].
    pub(super) async fn current(&self) -> Secret {
        match &self.file {
            None => self.first.clone(),
            Some(file) => file.current().await,
        }
    }
}

/// A file with a secret.
struct SecretFile {
    path: PathBuf,
    /// A mutex of tokio: whoever reads the file holds it, and the others wait for what is read.
    state: Mutex<State>,
}

struct State {
    secret: Secret,
    /// When reading it has begun.
    read_at: Instant,
    /// A file system that hangs is asked once: whoever waits for it may be cancelled, and the next one goes on waiting for the same
    /// answer.
    reading: Option<JoinHandle<Result<Secret, String>>>,
    /// Whether it was said that the file cannot be read.
    complained: bool,
}

impl SecretFile {
    /// The file at `path`, which `secret` was just read from.
    fn new(path: PathBuf, secret: Secret) -> Self {
        let state = State {
            secret,
            read_at: Instant::now(),
            reading: None,
            complained: false,
        };
        Self {
            path,
            state: Mutex::new(state),
        }
    }

    /// The secret that stands in the file: read now, or a second ago at most. While there is none in the file, as in the middle of a
    /// replacement, it is the last one.
    ///
    /// Waits for the file system as long as the caller does; can be dropped at any time.
    async fn current(&self) -> Secret {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        if state.reading.is_none() && state.read_at.elapsed() < FRESH_FOR {
            return state.secret.clone();
        }
        let reading = state.reading.get_or_insert_with(|| {
            state.read_at = Instant::now();
            let path = self.path.clone();
            spawn_blocking(move || secret::read_file(&path))
        });
        let read = reading.await;
        state.reading = None;
        let path = self.path.display();
        match read.unwrap_or_else(|_| Err("the runtime is shutting down".into())) {
            Ok(secret) => {
                if secret != state.secret {
                    tracing::info!(%path, "a secret has changed");
                    state.secret = secret;
                }
                state.complained = false;
            }
            Err(why) if !state.complained => {
                tracing::warn!(%path, %why, "a secret is not to be had: the last one stays in use");
                state.complained = true;
            }
            Err(_) => {}
        }
        state.secret.clone()
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretFile").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    struct Subject {
        dir: tempfile::TempDir,
        file: SecretFile,
    }

    fn subject() -> Subject {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "first\n").unwrap();
        let file = SecretFile::new(path.clone(), secret::read_file(&path).unwrap());
        Subject { dir, file }
    }

    impl Subject {
        fn write(&self, contents: &str) {
            std::fs::write(self.dir.path().join("secret"), contents).unwrap();
        }

        async fn text(&self) -> String {
            self.file.current().await.text().unwrap().to_owned()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_read_again_after_a_second_and_not_before() {
        let subject = subject();
        subject.write("second\n");
        tokio::time::advance(FRESH_FOR - Duration::from_millis(1)).await;
        assert_eq!(subject.text().await, "first");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(subject.text().await, "second");
        subject.write("third");
        assert_eq!(subject.text().await, "second");
        tokio::time::advance(FRESH_FOR).await;
        assert_eq!(subject.text().await, "third");
    }

    #[tokio::test(start_paused = true)]
    async fn while_there_is_none_the_last_one_stays() {
        let subject = subject();
        for broken in ["", "\n"] {
            subject.write(broken);
            tokio::time::advance(FRESH_FOR).await;
            assert_eq!(subject.text().await, "first", "{broken:?}");
        }
        std::fs::remove_file(subject.dir.path().join("secret")).unwrap();
        tokio::time::advance(FRESH_FOR).await;
        assert_eq!(subject.text().await, "first");
        subject.write("second");
        tokio::time::advance(FRESH_FOR).await;
        assert_eq!(subject.text().await, "second");
    }

    /// Whoever goes away in the middle of a read loses nothing for those who come after.
    #[tokio::test(start_paused = true)]
    async fn a_read_that_nobody_waits_for_any_more_is_taken_up_by_the_next() {
        let subject = subject();
        subject.write("second");
        tokio::time::advance(FRESH_FOR).await;
        {
            let mut dropped = pin!(subject.file.current());
            // The first poll starts the read, whose answer this runtime of one thread cannot have seen yet.
            let _ = dropped.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        assert_eq!(subject.text().await, "second");
    }

    #[test]
    fn nothing_of_it_is_shown() {
        let subject = subject();
        subject.write("hunter2");
        let path = subject.dir.path().join("secret");
        let live = LiveSecret::new(secret::read_file(&path).unwrap(), Some(path));
        let shown = format!("{live:?} {:?}", live.file);
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

//! A secret, the places where it may stand, and a file that is replaced while the stack lives.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;
use toml::Value;

/// Longest secret in bytes: a longer file is not the one that is meant.
const MAX_LEN: u64 = 64 << 10;
/// How long the secret that was read counts as the one in the file. Every request to a store may
/// ask for it: that is no reason to read the file more often.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// Where a secret stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// In the configuration.
    Plain,
    /// In a file that the configuration names.
    File,
    /// In a variable of the environment that the configuration names.
    Variable,
}

impl Form {
    /// The end that the name of a key has in this form.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::File => "_file",
            Self::Variable => "_env",
        }
    }
}

/// A secret of the configuration, as a [`Key::secret`](crate::Key::secret) reads it.
///
/// A secret in a file may change while the stack lives; elsewhere it does not. `Debug` shows
/// nothing of it.
#[derive(Debug)]
pub struct Secret {
    first: SecretBytes,
    file: Option<SecretFile>,
}

/// The bytes of a [`Secret`]. `Debug` shows nothing of them.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Box<[u8]>);

impl SecretBytes {
    /// The bytes, without the line break at the end of a file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as a text, if they are one.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    fn new(bytes: &[u8]) -> Result<Self, String> {
        match bytes.len() as u64 {
            0 => Err("an empty secret".into()),
            1..=MAX_LEN => Ok(Self(bytes.into())),
            _ => Err(format!("a secret longer than {MAX_LEN} bytes")),
        }
    }

    /// Reads a file. The line break that editors put at its end is not part of the secret.
    fn read(path: &Path) -> Result<Self, String> {
        use std::io::Read;
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_LEN + 3).read_to_end(&mut bytes))
            .map_err(|error| format!("the file cannot be read ({error})"))?;
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        Self::new(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn of_variable(name: &str) -> Result<Self, String> {
        // Such names are no names of variables, and asking for them panics.
        let value = (!name.is_empty() && !name.contains(['=', '\0'])).then(|| std::env::var(name));
        match value {
            Some(Ok(value)) => Self::new(value.as_bytes()),
            Some(Err(std::env::VarError::NotUnicode(_))) => {
                Err("the environment variable that it names is not valid UTF-8".into())
            }
            Some(Err(std::env::VarError::NotPresent)) | None => {
                Err("the environment variable that it names is not set".into())
            }
        }
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Reads a secret from where it stands. The value may be a secret in the wrong place, so the
    /// error repeats nothing of it.
    pub(crate) fn parse(form: Form, value: &Value) -> Result<Self, String> {
        let text = value.as_str().ok_or("expected a string")?;
        match form {
            Form::Plain => SecretBytes::new(text.as_bytes()).map(Self::fixed),
            Form::Variable => SecretBytes::of_variable(text).map(Self::fixed),
            Form::File => Self::in_file(text.into()),
        }
    }

    fn fixed(first: SecretBytes) -> Self {
        Self { first, file: None }
    }

    /// Reads a secret that stands in a file.
    pub(crate) fn in_file(path: PathBuf) -> Result<Self, String> {
        let first = SecretBytes::read(&path)?;
        Ok(Self {
            file: Some(SecretFile::new(path, first.clone())),
            first,
        })
    }

    /// The secret as it was when the configuration was read.
    pub fn first(&self) -> &SecretBytes {
        &self.first
    }

    /// Whether the secret stands in a file, and may change.
    pub fn is_in_file(&self) -> bool {
        self.file.is_some()
    }

    /// Returns the secret as it is now: of a file, as it was a second ago at most.
    ///
    /// A file that holds no secret, as in the middle of a replacement, leaves the last one in use.
    ///
    /// # Cancellation
    /// Waits for the file system as long as the caller does. The future can be dropped at any time.
    pub async fn current(&self) -> SecretBytes {
        match &self.file {
            None => self.first.clone(),
            Some(file) => file.current().await,
        }
    }
}

/// A file with a secret.
struct SecretFile {
    path: PathBuf,
    /// A mutex of tokio: the reader of the file holds it, and others wait for what it reads.
    state: Mutex<State>,
}

struct State {
    secret: SecretBytes,
    /// When the last read began.
    read_at: Instant,
    /// The read under way. A file system that hangs is asked once: a caller that waits for it may be
    /// cancelled, and the next one waits for the same answer.
    reading: Option<JoinHandle<Result<SecretBytes, String>>>,
    /// Whether the log says already that the file cannot be read.
    complained: bool,
}

impl SecretFile {
    /// Follows the file at `path`, which `secret` was just read from.
    fn new(path: PathBuf, secret: SecretBytes) -> Self {
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

    /// See [`Secret::current`].
    async fn current(&self) -> SecretBytes {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        if state.reading.is_none() && state.read_at.elapsed() < FRESH_FOR {
            return state.secret.clone();
        }
        let reading = state.reading.get_or_insert_with(|| {
            state.read_at = Instant::now();
            let path = self.path.clone();
            spawn_blocking(move || SecretBytes::read(&path))
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
    use crate::config::key::{Key, Keys};

    struct Subject {
        dir: tempfile::TempDir,
        file: SecretFile,
    }

    fn subject() -> Subject {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "first\n").unwrap();
        let file = SecretFile::new(path.clone(), SecretBytes::read(&path).unwrap());
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

    /// A caller that goes away in the middle of a read loses nothing for those who come after.
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
        let live = Secret::in_file(path).unwrap();
        let shown = format!("{live:?} {:?}", live.file);
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    const PLANTED: &str = "hunter2-hunter2-hunter2";

    fn read(toml: &str) -> Result<Option<Vec<u8>>, String> {
        let keys = Keys::new([Key::secret("seal_key", "", |secret: &mut Option<Secret>| secret)]);
        let secret = keys.read(&toml.parse().unwrap());
        secret
            .map(|secret| secret.map(|secret| secret.first().bytes().to_vec()))
            .map_err(|mistake| mistake.named())
    }

    #[test]
    fn a_secret_stands_in_one_of_three_places() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let in_file = format!("seal_key_file = {path:?}");
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("seal_key = \"k\""), Ok(Some(b"k".to_vec())));
        // A variable that every process of a test has.
        let path_variable = std::env::var("PATH").unwrap();
        assert_eq!(
            read("seal_key_env = \"PATH\""),
            Ok(Some(path_variable.into_bytes()))
        );
        for (contents, secret) in [
            (&b"key"[..], &b"key"[..]),
            (b"key\n", b"key"),
            (b"key\r\n", b"key"),
            (b" key \n\n", b" key \n"),
            (b"\xff\x00", b"\xff\x00"),
        ] {
            std::fs::write(&path, contents).unwrap();
            assert_eq!(read(&in_file), Ok(Some(secret.to_vec())));
        }
    }

    #[test]
    fn a_mistake_names_the_key_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (empty, long) = (dir.path().join("empty"), dir.path().join("long"));
        std::fs::write(&empty, "\n").unwrap();
        std::fs::write(&long, PLANTED.repeat(4000)).unwrap();
        for (toml, words) in [
            (
                format!("seal_key = \"{PLANTED}\"\nseal_key_env = \"PATH\""),
                "`seal_key` and `seal_key_env`",
            ),
            (
                format!("seal_key_file = \"x\"\nseal_key_env = \"{PLANTED}\""),
                "`seal_key_file` and `seal_key_env`",
            ),
            (
                format!("seal_key_env = \"{PLANTED}\""),
                "`seal_key_env`: the environment variable that it names is not set",
            ),
            (
                format!("seal_key_env = \"{PLANTED}=\""),
                "`seal_key_env`: the environment variable that it names is not set",
            ),
            (
                format!("seal_key_file = \"/{PLANTED}\""),
                "`seal_key_file`: the file cannot be read (No such file or directory",
            ),
            (format!("seal_key_file = {:?}", dir.path()), "cannot be read"),
            (
                format!("seal_key_file = {empty:?}"),
                "`seal_key_file`: an empty secret",
            ),
            (
                format!("seal_key_file = {long:?}"),
                "`seal_key_file`: a secret longer than 65536 bytes",
            ),
            (
                format!("seal_key = [\"{PLANTED}\"]"),
                "`seal_key`: expected a string",
            ),
            (format!("seal_key.{PLANTED} = 1"), "`seal_key`: expected a string"),
            (
                "seal_key = 4815162342".to_owned(),
                "`seal_key`: expected a string",
            ),
            ("seal_key = \"\"".to_owned(), "`seal_key`: an empty secret"),
        ] {
            let error = read(&toml).unwrap_err();
            assert!(error.contains(words), "{words:?} is missing for {toml}: {error}");
            assert!(
                !error.contains(PLANTED) && !error.contains("4815162342"),
                "{error}"
            );
        }
        let shown = format!("{:?}", Secret::parse(Form::Plain, &PLANTED.into()));
        assert!(!shown.contains(PLANTED), "{shown}");
    }
}

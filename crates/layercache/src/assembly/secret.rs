//! A setting that nobody may see, and the places where it may stand.

use std::fmt;
use std::io::Read;
use std::path::Path;

/// Longest secret in bytes: what is longer is not the file that is meant.
const MAX_LEN: u64 = 64 << 10;

/// A secret. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(Box<[u8]>);

/// Reads a secret that stands in the configuration, in a file, or in the environment. What it is given may be a secret in the wrong
/// place: the error says what is wrong, and repeats nothing.
pub(super) type Form = fn(&str) -> Result<Secret, String>;

/// In the order of the keys `<key>`, `<key>_file` and `<key>_env`.
pub(super) const FORMS: [Form; 3] = [plain, file, env];

impl Secret {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    fn new(bytes: &[u8]) -> Result<Self, String> {
        match bytes.len() as u64 {
            0 => Err("an empty secret".into()),
            1..=MAX_LEN => Ok(Self(bytes.into())),
            _ => Err(format!("a secret longer than {MAX_LEN} bytes")),
        }
    }
}

fn plain(text: &str) -> Result<Secret, String> {
    Secret::new(text.as_bytes())
}

fn file(path: &str) -> Result<Secret, String> {
    read_file(Path::new(path))
}

/// The secret in a file. The line break that editors put at the end is not part of it.
pub(super) fn read_file(path: &Path) -> Result<Secret, String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_LEN + 3).read_to_end(&mut bytes))
        .map_err(|error| format!("the file cannot be read ({error})"))?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    Secret::new(line.strip_suffix(b"\r").unwrap_or(line))
}

fn env(name: &str) -> Result<Secret, String> {
    // Such names are no names of variables, and asking for them panics.
    let value = (!name.is_empty() && !name.contains(['=', '\0'])).then(|| std::env::var(name));
    match value {
        Some(Ok(value)) => plain(&value),
        Some(Err(std::env::VarError::NotUnicode(_))) => {
            Err("the environment variable that it names is not valid UTF-8".into())
        }
        Some(Err(std::env::VarError::NotPresent)) | None => {
            Err("the environment variable that it names is not set".into())
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Keys;
    use super::*;
    use crate::TierConfig;

    const PLANTED: &str = "hunter2-hunter2-hunter2";

    fn read(toml: &str) -> Result<Option<Secret>, String> {
        let tier: TierConfig = toml::from_str(&format!("kind = \"k\"\n{toml}")).unwrap();
        let secret = Keys::of(&tier).unwrap().secret("seal_key");
        secret.map_err(|error| error.to_string())
    }

    #[test]
    fn a_secret_stands_in_one_of_three_places() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let in_file = format!("seal_key_file = {path:?}");
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("seal_key = \"k\""), Ok(Some(Secret(b"k"[..].into()))));
        // A variable that every process of a test has.
        let path_variable = std::env::var("PATH").unwrap();
        assert_eq!(
            read("seal_key_env = \"PATH\""),
            Ok(Some(Secret(path_variable.into_bytes().into())))
        );
        for (contents, secret) in [
            (&b"key"[..], &b"key"[..]),
            (b"key\n", b"key"),
            (b"key\r\n", b"key"),
            (b" key \n\n", b" key \n"),
            (b"\xff\x00", b"\xff\x00"),
        ] {
            std::fs::write(&path, contents).unwrap();
            assert_eq!(read(&in_file), Ok(Some(Secret(secret.into()))));
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
        let shown = format!("{:?}", plain(PLANTED));
        assert!(!shown.contains(PLANTED), "{shown}");
    }
}

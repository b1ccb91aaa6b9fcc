//! Credentials from where `docker login` and `podman login` put them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{Error, Result};

use super::auth_file::AuthFile;
use super::{CredentialProvider, Credentials, helper};
use crate::Repository;

const HELPER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_FILE_LEN: u64 = 4 << 20;

/// Reads the credential files of Docker and Podman each time it is asked, so that a new login counts at once, and runs
/// the credential helpers they name.
#[derive(Clone, Debug)]
pub struct CredentialFiles {
    files: Vec<PathBuf>,
    helper_timeout: Duration,
    helper_dir: Option<PathBuf>,
}

impl CredentialFiles {
    /// These files; the first one with credentials for a repository wins. Files that do not exist are passed over.
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self {
            files,
            helper_timeout: HELPER_TIMEOUT,
            helper_dir: None,
        }
    }

    /// The usual files, in Podman's order: `$REGISTRY_AUTH_FILE` alone if it is set, else
    /// `$XDG_RUNTIME_DIR/containers/auth.json`, `$XDG_CONFIG_HOME/containers/auth.json` (`~/.config`), and
    /// `$DOCKER_CONFIG/config.json` (`~/.docker`).
    pub fn from_environment() -> Self {
        Self::new(usual_files(|name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        }))
    }

    /// The same with another limit on how long a helper may take; 30 seconds by default.
    #[must_use]
    pub fn with_helper_timeout(mut self, limit: Duration) -> Self {
        self.helper_timeout = limit;
        self
    }

    /// The same with a directory in which helpers are looked for instead of in `$PATH`.
    #[must_use]
    pub fn with_helper_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.helper_dir = Some(dir.into());
        self
    }

    async fn look_up(&self, path: &Path, repository: &Repository) -> Result<Option<Credentials>> {
        let owned = path.to_owned();
        let file = tokio::task::spawn_blocking(move || read(&owned))
            .await
            .map_err(|error| {
                Error::unavailable("reading a credential file was cancelled").caused_by(error)
            })??;
        let Some(file) = file else { return Ok(None) };
        if let Some(call) = file.helper(repository.host()) {
            match helper::ask(&call, self.helper_dir.as_deref(), self.helper_timeout).await {
                Ok(Some(credentials)) => return Ok(Some(credentials)),
                Ok(None) => {}
                Err(error) if call.explicit => return Err(error),
                // A store for all hosts that does not work here must not keep anybody from public images.
                Err(error) => tracing::warn!(path = %path.display(), %error, "credential store ignored"),
            }
        }
        Ok(file.entry(repository))
    }
}

fn usual_files(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    if let Some(file) = variable("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let home = variable("HOME");
    let in_home = |name: &str| home.as_ref().map(|home| home.join(name));
    let containers = [
        variable("XDG_RUNTIME_DIR"),
        variable("XDG_CONFIG_HOME").or_else(|| in_home(".config")),
    ];
    let podman = containers
        .into_iter()
        .flatten()
        .map(|dir| dir.join("containers/auth.json"));
    let docker = variable("DOCKER_CONFIG")
        .or_else(|| in_home(".docker"))
        .map(|dir| dir.join("config.json"));
    podman.chain(docker).collect()
}

/// Reads and parses the file; `None` if there is none. The parser's message is dropped, for it may quote the file.
fn read(path: &Path) -> Result<Option<AuthFile>> {
    let failed = |what: &str| Error::permanent(format!("credential file {}: {what}", path.display()));
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("cannot be read").caused_by(error)),
    };
    let mut text = Vec::new();
    file.take(MAX_FILE_LEN + 1)
        .read_to_end(&mut text)
        .map_err(|error| failed("cannot be read").caused_by(error))?;
    if text.len() as u64 > MAX_FILE_LEN {
        return Err(failed("is longer than 4 MiB"));
    }
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|_| failed("is not JSON in the format of Docker"))
}

#[async_trait]
impl CredentialProvider for CredentialFiles {
    async fn credentials(&self, repository: &Repository) -> Result<Option<Credentials>> {
        for path in &self.files {
            if let Some(credentials) = self.look_up(path, repository).await? {
                return Ok(Some(credentials));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(variables: &[(&str, &str)]) -> Vec<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| PathBuf::from(value))
        };
        usual_files(variable)
            .iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn the_usual_files_are_those_of_podman_and_docker() {
        assert_eq!(
            files(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/1")]),
            [
                "/run/1/containers/auth.json",
                "/h/.config/containers/auth.json",
                "/h/.docker/config.json"
            ]
        );
        assert_eq!(
            files(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c"), ("DOCKER_CONFIG", "/d")]),
            ["/c/containers/auth.json", "/d/config.json"]
        );
        assert_eq!(
            files(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/auth.json")]),
            ["/auth.json"]
        );
        assert_eq!(files(&[]), [""; 0]);
    }
}

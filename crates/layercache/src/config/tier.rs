//! One `[[tier]]` table.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{ConfigError, one_line, told};
use super::key::{Keys, Mistake};

/// One `[[tier]]` table: a source of some kind. `Debug` shows no value, as any may be a secret.
#[derive(Clone, Deserialize, Serialize)]
pub struct TierConfig {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    pub(crate) settings: toml::Table,
}

impl TierConfig {
    /// Returns a source of this kind with its default settings.
    pub fn new(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            name: None,
            settings: toml::Table::new(),
        }
    }

    /// The kind of source.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The name of the source in errors, logs and figures: its kind unless set.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.kind)
    }

    /// Sets one setting, in place of what the file says.
    pub fn set(&mut self, key: &str, value: impl Into<toml::Value>) {
        self.settings.insert(key.to_owned(), value.into());
    }

    /// Reads the settings by the keys that a kind has.
    pub(crate) fn read<T: Default>(&self, keys: &Keys<T>) -> Result<T, ConfigError> {
        keys.read(&self.settings).map_err(|mistake| self.refuse(mistake))
    }

    /// Returns the error for a mistake in the settings.
    pub(crate) fn refuse(&self, mistake: Mistake) -> ConfigError {
        ConfigError::Tier {
            name: self.name().to_owned(),
            message: mistake.named(),
            key: mistake.key,
        }
    }

    /// Reads the settings of a kind whose keys are not described, as the type that its constructor
    /// expects.
    ///
    /// That type should `#[serde(deny_unknown_fields)]`, so that a mistyped key is not ignored. A
    /// message about a value of the wrong type repeats the value: for a secret, describe a
    /// [`Key::secret`](crate::Key::secret) instead.
    ///
    /// # Errors
    /// [`ConfigError::Tier`] for unknown keys and values of the wrong type.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let settings = self.settings.clone().try_into();
        settings.map_err(|error: toml::de::Error| {
            let (message, key) = told(&error);
            self.refuse(Mistake {
                key: key.map(|key| one_line(&key)),
                message: one_line(&message),
            })
        })
    }
}

impl fmt::Debug for TierConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, settings } = self;
        f.debug_struct("TierConfig")
            .field("kind", kind)
            .field("name", name)
            .field("keys", &settings.keys().collect::<Vec<_>>())
            .finish()
    }
}

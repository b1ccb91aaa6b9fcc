//! The configuration file: which sources, in which order.

use std::fmt;
use std::path::Path;

use bytesize::ByteSize;
use cache_core::Error;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

/// Longest configuration file in bytes.
const MAX_LEN: u64 = 1 << 20;

/// What a cache is composed of. Sizes are numbers of bytes or texts like `"50GiB"`.
///
/// ```
/// # use layercache::Config;
/// let config = Config::parse("early_reads = true\n[[tier]]\nkind = \"registry\"").unwrap();
/// assert_eq!(config.tiers[0].name(), "registry");
/// assert!(Config::parse("earlyreads = true").unwrap_err().to_string().contains("earlyreads"));
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Whether bytes may be read before their layer has arrived in full and was verified.
    #[serde(default)]
    pub early_reads: bool,
    /// Longest layer that is accepted. Default: 64 GiB.
    #[serde(default = "default_max_layer_bytes", serialize_with = "exact")]
    pub max_layer_bytes: ByteSize,
    /// How many layers are fetched and inflated at once. Default: 4.
    #[serde(default = "default_max_concurrent_fills")]
    pub max_concurrent_fills: usize,
    /// The sources, from the nearest to the farthest. Without any: the local disk in front of the registries.
    #[serde(default = "default_tiers", rename = "tier")]
    pub tiers: Vec<TierConfig>,
}

/// As a number: the text form of a size is rounded.
fn exact<S: Serializer>(size: &ByteSize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(size.0)
}

fn default_max_layer_bytes() -> ByteSize {
    ByteSize::gib(64)
}

fn default_max_concurrent_fills() -> usize {
    4
}

fn default_tiers() -> Vec<TierConfig> {
    ["disk", "registry"].map(TierConfig::new).into()
}

impl Default for Config {
    /// The local disk in front of the registries.
    fn default() -> Self {
        Self {
            early_reads: false,
            max_layer_bytes: default_max_layer_bytes(),
            max_concurrent_fills: default_max_concurrent_fills(),
            tiers: default_tiers(),
        }
    }
}

impl Config {
    /// Reads a configuration from TOML.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] for what is not TOML, unknown keys and values of the wrong type; [`ConfigError::Empty`] for an
    /// empty list of tiers.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::syntax(text, &error))?;
        if config.tiers.is_empty() {
            return Err(ConfigError::Empty);
        }
        Ok(config)
    }

    /// The configuration as TOML, which [`parse`](Self::parse) reads back: with all secrets that stand in it.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`] for a number that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        Ok(toml::to_string(self)?)
    }

    /// Reads a configuration from a file of at most 1 MiB.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse), and when the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        use std::io::Read;
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(ConfigError::File)?;
        file.take(MAX_LEN + 1)
            .read_to_string(&mut text)
            .map_err(ConfigError::File)?;
        if text.len() as u64 > MAX_LEN {
            return Err(ConfigError::TooLong);
        }
        Self::parse(&text)
    }
}

/// One `[[tier]]` table: a source of some kind. Any of its settings may be a secret: `Debug` shows their keys alone.
#[derive(Clone, Deserialize, Serialize)]
pub struct TierConfig {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    settings: toml::Table,
}

impl TierConfig {
    /// A source of this kind with its default settings.
    pub fn new(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            name: None,
            settings: toml::Table::new(),
        }
    }

    /// Which kind of source it is.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its name in errors, logs and figures: its kind unless set.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.kind)
    }

    /// Sets one setting, in place of what the file says.
    pub fn set(&mut self, key: &str, value: impl Into<toml::Value>) {
        self.settings.insert(key.to_owned(), value.into());
    }

    /// A mistake in its settings. `message` repeats no secret.
    pub(crate) fn mistake(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::Tier {
            name: self.name().to_owned(),
            message: message.into(),
        }
    }

    /// The settings of its kind, as the type that the kind's constructor expects. That type should
    /// `#[serde(deny_unknown_fields)]`, so that a mistyped key is not ignored. A message about a value of the wrong type
    /// repeats the value: for a secret take a type whose `Deserialize` does not.
    ///
    /// # Errors
    /// [`ConfigError::Tier`] for unknown keys and values of the wrong type.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        self.settings
            .clone()
            .try_into()
            // With the key, which the message alone lacks.
            .map_err(|error: toml::de::Error| self.mistake(one_line(&error.to_string())))
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

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file cannot be read")]
    File(#[source] std::io::Error),
    /// The file is longer than a configuration can be.
    #[error("the configuration file is longer than 1 MiB")]
    TooLong,
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("the configuration is not valid: {message} (line {line}, column {column})")]
    Syntax {
        /// What is wrong, in one line.
        message: String,
        /// Where, counted from 1.
        line: usize,
        /// Where in the line, in characters counted from 1.
        column: usize,
    },
    /// It cannot be written as TOML.
    #[error("the configuration cannot be written as TOML")]
    Unwritable(#[from] toml::ser::Error),
    /// No sources.
    #[error(
        "the configuration has an empty list of tiers: name at least one source, such as kind = \"registry\""
    )]
    Empty,
    /// A table of one source is wrong.
    #[error("the configuration of tier `{name}` is not valid: {message}")]
    Tier {
        /// Which source.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The kind is not known, or its feature is not compiled in.
    #[error("tier kind `{kind}` {why}")]
    Kind {
        /// The kind.
        kind: String,
        /// Why there is none.
        why: String,
    },
    /// Two sources have one name.
    #[error("two tiers are named `{0}`: give one of them another `name`")]
    DuplicateName(String),
    /// The source could not be made.
    #[error(transparent)]
    Source(#[from] Error),
}

impl ConfigError {
    fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self::Syntax {
            message: one_line(error.message()),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// The start of a message that may repeat what the file says, of any length, as one line that a terminal shows as it is.
pub(crate) fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 400;
    let text = text.trim_end();
    let mut out = String::new();
    for char in text.chars().take(MAX_CHARS) {
        match char {
            '\n' => out.push(' '),
            control if control.is_control() => out.extend(control.escape_default()),
            char => out.push(char),
        }
    }
    if text.chars().nth(MAX_CHARS).is_some() {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any setting may be a secret, so what is wrong with the file as a whole repeats none.
    #[test]
    fn settings_are_not_shown() {
        let config = Config::parse("[[tier]]\nkind = \"k\"\nname = \"n\"\ntoken = \"hunter2\"\n").unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(
            shown.contains("TierConfig { kind: \"k\", name: Some(\"n\"), keys: [\"token\"] }"),
            "{shown}"
        );
        for wrong in [
            "token = \"hunter2\"",
            "[[tier]]\nkind = \"k\"\ntoken = hunter2",
            "[[tier]]\nkind = \"k\"\ntoken = hunter2:hunter2@host",
            "[[tier]]\nkind = \"k\"\ntoken = \"hunter2",
            "[[tier]]\nkind = \"k\"\ntoken = \"hunter2\\q\"",
            "[[tier]]\nkind = \"k\"\ntoken = \"hunter2\" hunter2",
            "[[tier]]\nkind = \"k\"\ntoken = 'hunter2\n'",
            "[[tier]]\nkind = \"k\"\ntoken = \"hunter2\"\ntoken = \"hunter2\"",
            "[[tier]]\ntoken = \"hunter2\"",
            "[tier]\nkind = \"k\"\ntoken = \"hunter2\"",
        ] {
            let error = Config::parse(wrong).expect_err(wrong);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2"), "{wrong}: {shown}");
        }
    }
}

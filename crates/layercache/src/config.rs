//! The configuration: which sources, in which order.

mod builder;
mod environment;
mod error;
mod example;
mod hidden;
mod service_link;
mod setting;
mod show;

use std::fmt;
use std::path::Path;

use bytesize::ByteSize;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use builder::{ConfigBuilder, SetBy};
pub use error::ConfigError;
pub(crate) use error::one_line;
use error::told;
pub use setting::{Setting, Unset, ValueType};
pub use show::{ShownConfig, ShownSetting, ShownTier};

/// Longest configuration file in bytes.
const MAX_LEN: u64 = 1 << 20;

/// The key that the tables of the tiers have.
const TIERS: &str = "tier";

/// What is configured besides tiers: the fields of [`Config`].
pub(crate) const SETTINGS: [Setting; 3] = [
    Setting::new(
        "early_reads",
        ValueType::Flag,
        "Serve bytes before their layer has arrived in full and was verified.",
        Unset::Value("false"),
    ),
    Setting::new(
        "max_layer_bytes",
        ValueType::Size,
        "A layer that inflates to more is refused.",
        Unset::Value("\"64GiB\""),
    ),
    Setting::new(
        "max_concurrent_fills",
        ValueType::Count,
        "How many layers are fetched and inflated at once.",
        Unset::Value("4"),
    ),
];

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
    #[serde(
        default = "default_max_layer_bytes",
        serialize_with = "exact",
        deserialize_with = "size"
    )]
    pub max_layer_bytes: ByteSize,
    /// How many layers are fetched and inflated at once. Default: 4.
    #[serde(default = "default_max_concurrent_fills", deserialize_with = "count")]
    pub max_concurrent_fills: usize,
    /// The sources, from the nearest to the farthest. Without any: the local disk in front of the registries.
    #[serde(default = "default_tiers", rename = "tier")]
    pub tiers: Vec<TierConfig>,
}

/// As a number: the text form of a size is rounded.
fn exact<S: Serializer>(size: &ByteSize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(size.0)
}

/// A size in bytes as a configuration writes it. The error of another value says what a size is.
#[derive(Clone, Copy)]
pub(crate) struct Size(pub(crate) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "expected a number of bytes, or a text such as \"50GiB\"";
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(deserializer) {
            Ok(Form::Number(bytes)) => Ok(Self(bytes)),
            Ok(Form::Text(text)) => match text.parse() {
                Ok(ByteSize(bytes)) => Ok(Self(bytes)),
                Err(_) => Err(D::Error::custom(format!("{text:?} is no size: {EXPECTED}"))),
            },
            Err(_) => Err(D::Error::custom(EXPECTED)),
        }
    }
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    Size::deserialize(deserializer).map(|Size(bytes)| ByteSize(bytes))
}

/// A number of things. The error of another value says so, in no words of the language that this is written in.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    let count = value.as_integer().and_then(|count| usize::try_from(count).ok());
    count
        .filter(|count| *count > 0)
        .ok_or_else(|| D::Error::custom("expected a whole number from 1"))
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
        Self::parse(&read(path)?)
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(ConfigError::File)?;
    file.take(MAX_LEN + 1)
        .read_to_string(&mut text)
        .map_err(ConfigError::File)?;
    if text.len() as u64 > MAX_LEN {
        return Err(ConfigError::TooLong);
    }
    Ok(text)
}

/// One `[[tier]]` table: a source of some kind. Any of its settings may be a secret: `Debug` shows their keys alone.
#[derive(Clone, Deserialize, Serialize)]
pub struct TierConfig {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    pub(crate) settings: toml::Table,
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
            key: None,
            message: message.into(),
        }
    }

    /// A mistake in one of them. `what` repeats no secret.
    pub(crate) fn mistake_in(&self, key: &str, what: &str) -> ConfigError {
        ConfigError::Tier {
            name: self.name().to_owned(),
            key: Some(key.to_owned()),
            message: format!("`{key}`: {what}"),
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
            .map_err(|error: toml::de::Error| {
                let (what, key) = told(&error);
                match key {
                    Some(key) => self.mistake_in(&one_line(&key), &one_line(&what)),
                    None => self.mistake(one_line(&what)),
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kinds;

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

    /// As `assembly/agreement.rs` does for the kinds.
    #[test]
    fn what_is_described_is_what_is_there() {
        let error = Config::parse("no_such_key = 1").unwrap_err().to_string();
        let (_, known) = error.split_once("expected one of ").unwrap();
        let taken: Vec<_> = known.split('`').skip(1).step_by(2).collect();
        let described = SETTINGS.iter().map(|setting| setting.key).chain([TIERS]);
        assert_eq!(taken, described.collect::<Vec<_>>());

        let nothing = toml::Table::new();
        let defaults = SETTINGS.iter().map(|setting| {
            let value = setting.default_in(&nothing).unwrap();
            format!("{} = {value}\n", setting.key)
        });
        let spelled_out = Config::parse(&defaults.collect::<String>()).unwrap();
        assert_eq!(format!("{spelled_out:?}"), format!("{:?}", Config::default()));
    }

    /// The example says the default, and so does every line of it that is not prose.
    #[test]
    fn the_example_changes_nothing() {
        let kinds = Kinds::builtin();
        let example = Config::example(&kinds);
        let config = Config::parse(&example).unwrap();
        assert_eq!(config.to_toml().unwrap(), Config::default().to_toml().unwrap());

        let all: String = example
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if !key.is_empty() && !key.starts_with(' ') => format!("{key}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let all = Config::parse(&all).unwrap_or_else(|error| panic!("{all}: {error}"));
        let names: Vec<_> = all.tiers.iter().map(TierConfig::kind).collect();
        assert_eq!(names, kinds.described().map(|(kind, _)| kind).collect::<Vec<_>>());
        for tier in &all.tiers {
            let described = kinds.settings(tier.kind()).unwrap();
            let required: toml::Table = described
                .iter()
                .filter(|setting| matches!(setting.unset, Unset::Required))
                .map(|setting| (setting.key.to_owned(), tier.settings[setting.key].clone()))
                .collect();
            for (key, value) in &tier.settings {
                let setting = described.iter().find(|setting| setting.key == key).unwrap();
                let default = setting
                    .default_in(&required)
                    .or_else(|| required.get(key).cloned());
                assert_eq!(Some(value), default.as_ref(), "{key} of {}", tier.kind());
            }
        }
        // Every key is there, be it as an example.
        for (kind, settings) in kinds.described() {
            for setting in settings {
                let there = [
                    format!("#{} = ", setting.key),
                    format!("For example: {}", setting.key),
                ];
                assert!(
                    there.iter().any(|there| example.contains(there)),
                    "{} of {kind}",
                    setting.key
                );
            }
        }
    }
}

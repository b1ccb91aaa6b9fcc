//! The configuration file, and the keys that it has besides those of tiers.

use std::path::Path;

use cache_core::inflate::InflateLimits;
use serde::Deserialize;
use toml::de::{DeTable, ValueDeserializer};
use toml::{Table, Value};

use super::error::ConfigError;
use super::key::{Described, Key, Keys, Mistake};
use super::tier::TierConfig;

/// Longest configuration file in bytes.
const MAX_LEN: u64 = 1 << 20;

/// The key that the tables of the tiers have.
const TIERS: &str = "tier";

/// What a cache is composed of.
///
/// ```
/// # use layercache::Config;
/// let config = Config::parse("early_reads = true\n[[tier]]\nkind = \"registry\"").unwrap();
/// assert_eq!(config.tiers[0].name(), "registry");
/// assert!(Config::parse("earlyreads = true").unwrap_err().to_string().contains("earlyreads"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Whether bytes may be read before their layer has arrived in full and was verified.
    pub early_reads: bool,
    /// Longest layer in bytes that is accepted. Default: 64 GiB.
    pub max_layer_bytes: u64,
    /// How many layers are fetched and inflated at once. Default: 4.
    pub max_concurrent_fills: usize,
    /// The sources, from the nearest to the farthest. Default: the local disk in front of the
    /// registries.
    pub tiers: Vec<TierConfig>,
}

impl Default for Config {
    /// The local disk in front of the registries.
    fn default() -> Self {
        let limits = InflateLimits::default();
        Self {
            early_reads: false,
            max_layer_bytes: limits.max_layer_bytes,
            max_concurrent_fills: limits.max_concurrent,
            tiers: ["disk", "registry"].map(TierConfig::new).into(),
        }
    }
}

impl Config {
    /// The keys besides those of tiers.
    pub(crate) fn keys() -> Keys<Self> {
        Keys::new([
            Key::flag(
                "early_reads",
                "Serve bytes before their layer has arrived in full and was verified.",
                |config: &mut Self| &mut config.early_reads,
            ),
            Key::size(
                "max_layer_bytes",
                "A layer that inflates to more is refused.",
                |config: &mut Self| &mut config.max_layer_bytes,
            ),
            Key::count(
                "max_concurrent_fills",
                "How many layers are fetched and inflated at once.",
                |config: &mut Self| &mut config.max_concurrent_fills,
            ),
        ])
    }

    /// Reads a configuration from TOML.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] for what is not TOML, unknown keys and values of the wrong type; [`ConfigError::Empty`] for an
    /// empty list of tiers.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let (_, tiers, mut config) = parse(text)?;
        config.tiers = tiers.unwrap_or(config.tiers);
        Ok(config)
    }

    /// Writes the configuration as TOML, which [`parse`](Self::parse) reads back. It has all secrets
    /// that stand in the configuration.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`] for a number that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        let keys = Self::keys();
        let values = keys.values(&mut self.clone());
        let mut table = Table::new();
        for (info, value) in keys.infos().into_iter().zip(values) {
            table.extend(value.map(|value| (info.name.to_owned(), value)));
        }
        table.insert(TIERS.to_owned(), Value::try_from(&self.tiers)?);
        Ok(toml::to_string(&table)?)
    }

    /// Reads a configuration from a file of at most 1 MiB.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse), and when the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read(path)?)
    }
}

/// Parses a file: its table without the tiers, the tiers if it names any, and the configuration with
/// the former alone.
pub(super) fn parse(text: &str) -> Result<(Table, Option<Vec<TierConfig>>, Config), ConfigError> {
    let error = |error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        ConfigError::syntax(text, at, error.message())
    };
    let mut entries: Vec<_> = DeTable::parse(text)
        .map_err(error)?
        .into_inner()
        .into_iter()
        .collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let keys = Config::keys();
    let (mut table, mut tiers, mut config) = (Table::new(), None, Config::default());
    for (name, value) in entries {
        let [name_at, value_at] = [name.span().start, value.span().start];
        let name: &str = name.get_ref();
        let deserializer = ValueDeserializer::from(value);
        if name == TIERS {
            tiers = Some(Vec::<TierConfig>::deserialize(deserializer).map_err(error)?);
            continue;
        }
        let value = Value::deserialize(deserializer).map_err(error)?;
        keys.set(&mut config, name, &value)
            .map_err(|mistake| match mistake {
                Mistake {
                    key: Some(_),
                    message,
                } => ConfigError::syntax(text, value_at, &message),
                Mistake { key: None, .. } => {
                    ConfigError::syntax(text, name_at, &keys.unknown(name, &[TIERS]))
                }
            })?;
        table.insert(name.to_owned(), value);
    }
    match tiers {
        Some(tiers) if tiers.is_empty() => Err(ConfigError::Empty),
        tiers => Ok((table, tiers, config)),
    }
}

/// Reads the text of a configuration file.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
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

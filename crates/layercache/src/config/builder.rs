//! Puts a configuration together, and remembers who has set what.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use toml::{Table, Value};

use super::error::{ConfigError, SetBy};
use super::file::{self, Config};
use super::tier::TierConfig;

/// Puts a [`Config`] together from a file, the environment and arguments, and remembers who has set what: what is set later overrides
/// what was there. Its `Debug` shows no secret.
///
/// ```
/// # use layercache::{ConfigBuilder, Kinds};
/// let mut builder = ConfigBuilder::parse("max_concurrent_fills = 2\n[[tier]]\nkind = \"registry\"").unwrap();
/// let variables = [("LAYERCACHE_MAX_CONCURRENT_FILLS".into(), "8".into())];
/// builder.set_from_environment(variables, &Kinds::builtin()).unwrap();
/// assert_eq!(builder.build().unwrap().max_concurrent_fills, 8);
/// ```
#[derive(Clone)]
pub struct ConfigBuilder {
    /// What is set besides tiers.
    pub(super) top: Table,
    pub(super) tiers: Vec<TierConfig>,
    /// Whether the tiers stand in a file.
    pub(super) has_file_tiers: bool,
    /// Of the keys that no file has set, or no file alone: those of the tier at a position, or of none.
    overridden: BTreeMap<(Option<usize>, String), SetBy>,
}

impl Default for ConfigBuilder {
    /// Nothing is set.
    fn default() -> Self {
        Self {
            top: Table::new(),
            tiers: Config::default().tiers,
            has_file_tiers: false,
            overridden: BTreeMap::new(),
        }
    }
}

impl ConfigBuilder {
    /// Begins with what a file says, given as its text.
    ///
    /// # Errors
    /// Those of [`Config::parse`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let (top, tiers, default) = file::parse(text)?;
        Ok(Self {
            top,
            has_file_tiers: tiers.is_some(),
            tiers: tiers.unwrap_or(default.tiers),
            overridden: BTreeMap::new(),
        })
    }

    /// Begins with a file of at most 1 MiB.
    ///
    /// # Errors
    /// Those of [`Config::load`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&file::read(path)?)
    }

    /// Sets a key outside of the tiers.
    ///
    /// # Errors
    /// [`ConfigError::Override`] for an unknown key and a value of the wrong type.
    pub fn set(&mut self, key: &str, value: impl Into<Value>, by: SetBy) -> Result<(), ConfigError> {
        let value = value.into();
        let set = Config::keys().set(&mut Config::default(), key, &value);
        set.map_err(|mistake| ConfigError::Override {
            by: by.clone(),
            message: mistake.named(),
        })?;
        self.top.insert(key.to_owned(), value);
        self.overridden.insert((None, key.to_owned()), by);
        Ok(())
    }

    /// Sets a key of the only tier of a kind. What the kind does not take is refused when the [`Stack`](crate::Stack) is assembled.
    ///
    /// # Errors
    /// [`ConfigError::Override`] when there is no such tier, or several.
    pub fn set_of_only(
        &mut self,
        kind: &str,
        key: &str,
        value: impl Into<Value>,
        by: SetBy,
    ) -> Result<(), ConfigError> {
        let mut positions = (0..self.tiers.len()).filter(|&position| self.tiers[position].kind() == kind);
        match (positions.next(), positions.next()) {
            (Some(position), None) => self.set_at(position, key, value.into(), by),
            (first, _) => {
                let (how_many, advice) = if first.is_some() {
                    ("several tiers", "set it in the table of the one that is meant")
                } else {
                    ("no tier", "add one, or leave this out")
                };
                let message = format!("the configuration has {how_many} of the kind `{kind}`: {advice}");
                return Err(ConfigError::Override { by, message });
            }
        }
        Ok(())
    }

    pub(super) fn set_at(&mut self, position: usize, key: &str, value: Value, by: SetBy) {
        self.tiers[position].set(key, value);
        self.overridden.insert((Some(position), key.to_owned()), by);
    }

    /// Forgets a key of a tier, whoever has set it.
    pub(super) fn unset_at(&mut self, position: usize, key: &str) {
        self.tiers[position].settings.remove(key);
        self.overridden.remove(&(Some(position), key.to_owned()));
    }

    /// Who has set a key that is set: of the tier at a position, or of none.
    pub(super) fn set_by(&self, position: Option<usize>, key: &str) -> SetBy {
        let overridden = self.overridden.get(&(position, key.to_owned()));
        overridden.cloned().unwrap_or(SetBy::File)
    }

    /// The variable or argument that has set a key of a tier, if it was one.
    pub fn override_of(&self, tier: &str, key: &str) -> Option<&SetBy> {
        let position = self.tiers.iter().position(|known| known.name() == tier)?;
        self.overridden.get(&(Some(position), key.to_owned()))
    }

    /// The configuration.
    ///
    /// # Errors
    /// None but what [`set`](Self::set) has refused already.
    pub fn build(&self) -> Result<Config, ConfigError> {
        let config = Config::keys().read(&self.top);
        let mut config = config.map_err(|mistake| ConfigError::syntax("", 0, &mistake.named()))?;
        config.tiers.clone_from(&self.tiers);
        Ok(config)
    }
}

impl fmt::Debug for ConfigBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            top,
            tiers,
            has_file_tiers,
            overridden,
        } = self;
        f.debug_struct("ConfigBuilder")
            .field("top", &top.keys().collect::<Vec<_>>())
            .field("tiers", tiers)
            .field("has_file_tiers", has_file_tiers)
            .field("overridden", overridden)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument() -> SetBy {
        SetBy::Argument("--flag".into())
    }

    #[test]
    fn the_last_one_to_set_a_key_wins() {
        let mut builder =
            ConfigBuilder::parse("early_reads = false\n[[tier]]\nkind = \"disk\"\ndir = \"/a\"").unwrap();
        assert_eq!(builder.set_by(None, "early_reads"), SetBy::File);
        builder.set("early_reads", true, argument()).unwrap();
        builder.set_of_only("disk", "dir", "/b", argument()).unwrap();
        assert_eq!(builder.set_by(None, "early_reads"), argument());
        assert_eq!(builder.set_by(Some(0), "dir"), argument());
        assert_eq!(builder.override_of("disk", "dir"), Some(&argument()));
        assert_eq!(builder.override_of("disk", "max_bytes"), None);
        let config = builder.build().unwrap();
        assert!(config.early_reads);
        assert_eq!(config.tiers[0].settings["dir"].as_str(), Some("/b"));
    }

    #[test]
    fn what_cannot_be_set_says_who_wanted_to() {
        let mut builder = ConfigBuilder::default();
        for (result, words) in [
            (
                builder.set("early_reads", "maybe", argument()),
                "expected a boolean",
            ),
            (builder.set("colour", 1, argument()), "unknown field `colour`"),
            (
                builder.set("tier", Vec::<Value>::new(), argument()),
                "unknown field `tier`, expected one of `early_reads`",
            ),
            (
                builder.set_of_only("s3", "bucket", "b", argument()),
                "no tier of the kind `s3`",
            ),
        ] {
            let error = result.unwrap_err().to_string();
            assert!(error.starts_with("--flag: ") && error.contains(words), "{error}");
        }
        let mut two =
            ConfigBuilder::parse("[[tier]]\nkind = \"disk\"\n[[tier]]\nkind = \"disk\"\nname = \"b\"")
                .unwrap();
        let error = two
            .set_of_only("disk", "dir", "/b", argument())
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "--flag: the configuration has several tiers of the kind `disk`: set it in the table of the one that is meant"
        );
    }

    #[test]
    fn values_are_not_shown() {
        let builder = ConfigBuilder::parse("[[tier]]\nkind = \"k\"\ntoken = \"hunter2\"\n").unwrap();
        let shown = format!("{builder:?}");
        assert!(shown.contains("token") && !shown.contains("hunter2"), "{shown}");
    }
}

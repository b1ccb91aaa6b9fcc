//! The effective configuration, to be looked at: every value, who has set it, and no secret.

use std::fmt;

use serde::{Serialize, Serializer};
use toml::{Table, Value};

use super::builder::{ConfigBuilder, SetBy};
use super::hidden::HIDDEN;
use super::setting::{Setting, Unset};
use super::{ConfigError, SETTINGS};
use crate::Kinds;

/// A configuration with the defaults filled in, without secrets. Its `Display` is TOML, with who has set a value behind it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ShownConfig {
    /// What is set besides tiers.
    pub settings: Vec<ShownSetting>,
    /// The sources, from the nearest to the farthest.
    pub tiers: Vec<ShownTier>,
}

/// One source of a [`ShownConfig`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ShownTier {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Who has named it as a source.
    #[serde(serialize_with = "text")]
    pub set_by: SetBy,
    /// What is set of it. Of a kind that nobody has described, every value is hidden, as it may be a secret.
    pub settings: Vec<ShownSetting>,
}

/// One key of a [`ShownConfig`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ShownSetting {
    /// The key.
    pub key: String,
    /// Its value; `<hidden>` for a secret, and `None` where there is none.
    pub value: Option<Value>,
    /// Who has set it.
    #[serde(serialize_with = "text")]
    pub set_by: SetBy,
    /// What happens where there is no value, or how a default was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
}

fn text<S: Serializer>(by: &SetBy, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(by)
}

impl ConfigBuilder {
    /// The effective configuration, as far as it can be told without making the sources: whether a value is one that its kind takes is
    /// found out by [`Stack::assemble`](crate::Stack::assemble) alone.
    ///
    /// # Errors
    /// [`ConfigError::Kind`] for an unknown kind and [`ConfigError::Tier`] for a key that a kind does not have.
    pub fn show(&self, kinds: &Kinds) -> Result<ShownConfig, ConfigError> {
        let tiers = (0..self.tiers.len()).map(|position| self.show_tier(position, kinds));
        Ok(ShownConfig {
            settings: self.show_table(None, &self.top, &SETTINGS),
            tiers: tiers.collect::<Result<_, _>>()?,
        })
    }

    fn show_tier(&self, position: usize, kinds: &Kinds) -> Result<ShownTier, ConfigError> {
        let tier = &self.tiers[position];
        kinds.check(tier.kind())?;
        let settings = match kinds.settings(tier.kind()) {
            Some(described) => {
                let known: Vec<_> = described.iter().flat_map(Setting::keys).collect();
                if let Some(key) = tier.settings.keys().find(|key| !known.contains(key)) {
                    return Err(tier.mistake(format!("unknown field `{key}`")));
                }
                self.show_table(Some(position), &tier.settings, described)
            }
            None => {
                let hidden = |key: &String| ShownSetting {
                    key: key.clone(),
                    value: Some(HIDDEN.into()),
                    set_by: self.set_by(Some(position), key),
                    note: None,
                };
                tier.settings.keys().map(hidden).collect()
            }
        };
        Ok(ShownTier {
            kind: tier.kind().to_owned(),
            name: tier.name().to_owned(),
            set_by: if self.has_file_tiers {
                SetBy::File
            } else {
                SetBy::Default
            },
            settings,
        })
    }

    /// What is set in a table, and what is true of the keys that are not.
    fn show_table(&self, position: Option<usize>, table: &Table, described: &[Setting]) -> Vec<ShownSetting> {
        let mut shown = Vec::new();
        for setting in described {
            let keys = setting.keys();
            let given: Vec<_> = keys.iter().filter(|key| table.contains_key(*key)).collect();
            for key in &given {
                shown.push(ShownSetting {
                    key: (*key).clone(),
                    value: Some(setting.without_secrets(key, &table[*key])),
                    set_by: self.set_by(position, key),
                    note: None,
                });
            }
            if given.is_empty() {
                let note = match setting.unset {
                    Unset::Value(_) => None,
                    Unset::Follows { how, .. } | Unset::Found { how, .. } => Some(how),
                    Unset::Nothing(what) => Some(what),
                    // Whoever makes the source says what is missing, or it is said in another way.
                    Unset::Required => continue,
                };
                shown.push(ShownSetting {
                    key: setting.key.to_owned(),
                    value: setting.default_in(table),
                    set_by: SetBy::Default,
                    note,
                });
            }
        }
        shown
    }
}

impl fmt::Display for ShownConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lines(f, &self.settings)?;
        for tier in &self.tiers {
            let ShownTier {
                kind,
                name,
                set_by,
                settings,
            } = tier;
            writeln!(f, "\n[[tier]]  # {set_by}")?;
            writeln!(f, "kind = {}", Value::from(kind.as_str()))?;
            writeln!(f, "name = {}", Value::from(name.as_str()))?;
            write_lines(f, settings)?;
        }
        Ok(())
    }
}

fn write_lines(f: &mut fmt::Formatter<'_>, settings: &[ShownSetting]) -> fmt::Result {
    for ShownSetting {
        key,
        value,
        set_by,
        note,
    } in settings
    {
        let key = toml_key(key);
        match (value, note) {
            (Some(value), None) => writeln!(f, "{key} = {value}  # {set_by}")?,
            (Some(value), Some(note)) => writeln!(f, "{key} = {value}  # {set_by}: {note}")?,
            (None, note) => writeln!(f, "# {key} is not set: {}", note.unwrap_or_default())?,
        }
    }
    Ok(())
}

/// A key as TOML writes it, on one line whatever it is.
fn toml_key(key: &str) -> String {
    let bare = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '_';
    if !key.is_empty() && key.chars().all(bare) {
        return key.to_owned();
    }
    let mut quoted = String::from("\"");
    for char in key.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            control if control.is_control() => quoted += &format!("\\u{:04x}", control as u32),
            char => quoted.push(char),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, ValueType};

    /// Whatever stands in the place of a secret, and of a URL that should hold none.
    #[test]
    fn no_secret_of_any_kind_is_shown() {
        const URLS: &[&str] = &[
            "http://u:hunter2@host",
            "redis://hunter2@host/?password=hunter2",
            "u:hunter2@host",
        ];
        let kinds = Kinds::builtin();
        for (kind, settings) in kinds.described() {
            for setting in settings {
                let texts = match setting.value_type {
                    ValueType::Secret | ValueType::SecretUrl | ValueType::SecretUrls => {
                        &[URLS, &["hunter2"]].concat()
                    }
                    ValueType::Url | ValueType::Other(_) => URLS,
                    _ => continue,
                };
                for text in texts {
                    let table = format!("{{ a = {{ b = {text:?} }}, {text:?} = [\"c\"] }}");
                    let values = [format!("{text:?}"), format!("[{text:?}]"), table];
                    let keys = setting.keys();
                    for (key, value) in keys
                        .iter()
                        .flat_map(|key| values.iter().map(move |value| (key, value)))
                    {
                        let toml = format!("[[tier]]\nkind = \"{kind}\"\n{key} = {value}");
                        let builder = ConfigBuilder::parse(&toml).unwrap();
                        let shown = builder.show(&kinds).unwrap();
                        let json = serde_json::to_string(&shown).unwrap();
                        for said in [shown.to_string(), json, format!("{shown:?} {builder:?}")] {
                            assert!(!said.contains("hunter2"), "{toml}: {said}");
                            assert!(said.contains(key), "{said}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn any_key_is_written_on_one_line() {
        for key in ["", "a-b_9", "a b", "a.b", "a\"b\\", "a\nb\u{1b}\u{7f}", "ä"] {
            let text = format!("{} = 1", toml_key(key));
            let table: Table = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(table.keys().collect::<Vec<_>>(), [key]);
            assert_eq!(text.lines().count(), 1);
        }
    }

    #[test]
    fn nothing_is_known_of_a_kind_that_nobody_describes() {
        let mut kinds = Kinds::default();
        kinds.register("k", |tier, _shared| Err(tier.mistake("never made")));
        let text =
            "[[tier]]\nkind = \"k\"\ntoken = \"hunter2\"\npin = 4815162342\nnested = { a = \"hunter2\" }";
        let shown = ConfigBuilder::parse(text)
            .unwrap()
            .show(&kinds)
            .unwrap()
            .to_string();
        assert!(
            !shown.contains("hunter2") && !shown.contains("4815162342"),
            "{shown}"
        );
        let again = Config::parse(&shown).unwrap();
        assert_eq!(
            again.tiers[0].settings.keys().collect::<Vec<_>>(),
            ["nested", "pin", "token"]
        );

        let unknown = ConfigBuilder::parse("[[tier]]\nkind = \"other\"")
            .unwrap()
            .show(&kinds);
        assert!(matches!(unknown, Err(ConfigError::Kind { .. })), "{unknown:?}");
        kinds.describe("k", &[]);
        let error = ConfigBuilder::parse(text).unwrap().show(&kinds).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the configuration of tier `k` is not valid: unknown field `nested`"
        );
    }
}

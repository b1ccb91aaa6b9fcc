//! The effective configuration, to be looked at: every value, who has set it, and no secret.

use std::fmt;
use std::path::Path;

use serde::{Serialize, Serializer};
use toml::{Table, Value};

use super::builder::ConfigBuilder;
use super::error::{ConfigError, SetBy};
use super::file::Config;
use super::key::{Described, KeyInfo, Mistake, Unset, ValueType};
use crate::assembly::Kinds;

/// Stands in the place of a secret.
const HIDDEN: &str = "<hidden>";

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
            settings: self.show_table(None, &self.top, &Config::keys()),
            tiers: tiers.collect::<Result<_, _>>()?,
        })
    }

    fn show_tier(&self, position: usize, kinds: &Kinds) -> Result<ShownTier, ConfigError> {
        let tier = &self.tiers[position];
        kinds.check(tier.kind())?;
        let settings = match kinds.keys(tier.kind()) {
            Some(keys) => {
                let known: Vec<_> = keys.infos().into_iter().flat_map(KeyInfo::names).collect();
                if let Some(name) = tier.settings.keys().find(|name| !known.contains(name)) {
                    return Err(tier.refuse(Mistake::new(keys.unknown(name, &[]))));
                }
                self.show_table(Some(position), &tier.settings, keys)
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
    fn show_table(&self, position: Option<usize>, table: &Table, keys: &dyn Described) -> Vec<ShownSetting> {
        let mut shown = Vec::new();
        for (info, default) in keys.infos().into_iter().zip(keys.defaults(table)) {
            let names = info.names();
            let given: Vec<_> = names.iter().filter(|name| table.contains_key(*name)).collect();
            for name in &given {
                shown.push(ShownSetting {
                    key: (*name).clone(),
                    value: Some(info.without_secrets(name, &table[*name])),
                    set_by: self.set_by(position, name),
                    note: None,
                });
            }
            if given.is_empty() {
                let note = match info.unset {
                    Unset::Default => None,
                    Unset::Follows(how) | Unset::Found(how) => Some(how),
                    Unset::Nothing(what) => Some(what),
                    // Making the source says what is missing, or another key says it instead.
                    Unset::Required(_) => continue,
                };
                shown.push(ShownSetting {
                    key: info.name.to_owned(),
                    value: default,
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

impl KeyInfo {
    /// Returns a value of `name`, one of the key's names, as it may be shown.
    fn without_secrets(&self, name: &str, value: &Value) -> Value {
        if name != self.name {
            return place(name, value);
        }
        match self.takes {
            ValueType::Secret => HIDDEN.into(),
            ValueType::SecretUrl | ValueType::SecretUrls => map_texts(value, &secret_url),
            ValueType::Path | ValueType::File => value.clone(),
            _ => map_texts(value, &without_credentials),
        }
    }
}

/// Shows the place of a secret, as `<key>_file` or `<key>_env` names it, unless it may be a secret in
/// the wrong place. The ID of an access key looks like the name of a variable, so only one that is set
/// is taken for one. A secret in base64 may begin with a slash, so only a path that begins in the root
/// directory of this machine is taken for one.
fn place(key: &str, value: &Value) -> Value {
    let is_place = value.as_str().is_some_and(|text| match key.ends_with("_env") {
        true => std::env::var_os(text).is_some(),
        false => may_be_file(Path::new(text)),
    });
    if is_place { value.clone() } else { HIDDEN.into() }
}

fn may_be_file(path: &Path) -> bool {
    let first = path.components().nth(1);
    path.is_absolute() && first.is_some_and(|first| Path::new("/").join(first).exists())
}

/// Changes every text in a value, the keys of tables included.
fn map_texts(value: &Value, change: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => change(text).into(),
        Value::Array(values) => Value::Array(values.iter().map(|value| map_texts(value, change)).collect()),
        Value::Table(table) => {
            let entries = table.iter();
            Value::Table(
                entries
                    .map(|(key, value)| (change(key), map_texts(value, change)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

/// Returns a URL that is a secret, without its credentials. Nothing of a text that is no URL is shown:
/// any part of it may be a secret.
fn secret_url(text: &str) -> String {
    match text.split_once("://") {
        Some(("redis" | "rediss" | "http" | "https", rest)) if !rest.contains(char::is_whitespace) => {
            without_credentials(text)
        }
        _ => HIDDEN.to_owned(),
    }
}

/// Returns a text without the credentials of a URL, which its query may hold as well. A password may
/// contain any character that was forgotten to be escaped: the host follows the last `@`.
fn without_credentials(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let (credentials, rest) = match rest.rsplit_once('@') {
        Some((_, host)) => (format!("{HIDDEN}@"), host),
        None => (String::new(), rest),
    };
    match rest.find(['?', '#']) {
        Some(query) if !scheme.is_empty() => format!("{scheme}{credentials}{}?{HIDDEN}", &rest[..query]),
        _ => format!("{scheme}{credentials}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Key, Keys, Secret};

    /// Whatever stands in the place of a secret, and of a URL that should hold none.
    #[test]
    fn no_secret_of_any_kind_is_shown() {
        const URLS: &[&str] = &[
            "http://u:hunter2@host",
            "redis://hunter2@host/?password=hunter2",
            "u:hunter2@host",
        ];
        let kinds = Kinds::builtin();
        for (kind, keys) in kinds.described() {
            for info in keys.infos() {
                let texts = match info.takes {
                    ValueType::Secret | ValueType::SecretUrl | ValueType::SecretUrls => {
                        &[URLS, &["hunter2"]].concat()
                    }
                    ValueType::Url | ValueType::Other(_) => URLS,
                    _ => continue,
                };
                for text in texts {
                    let table = format!("{{ a = {{ b = {text:?} }}, {text:?} = [\"c\"] }}");
                    let values = [format!("{text:?}"), format!("[{text:?}]"), table];
                    for (key, value) in info
                        .names()
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
        kinds.register("k", |_, _| Err(ConfigError::Empty));
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
        kinds.register_with_keys("k", [], |(), _, _| Err(ConfigError::Empty));
        let error = ConfigBuilder::parse(text).unwrap().show(&kinds).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the configuration of tier `k` is not valid: unknown field `nested`"
        );
    }

    #[test]
    fn a_place_is_shown_where_it_can_be_one() {
        let keys = Keys::new([Key::secret("k", "", |secret: &mut Option<Secret>| secret)]);
        let info = keys.infos()[0];
        for (key, text, shown) in [
            ("k", "/run/secrets/k", HIDDEN),
            ("k_file", "/etc/no-such/k", "/etc/no-such/k"),
            ("k_file", "/dev", "/dev"),
            ("k_file", "secrets/k", HIDDEN),
            ("k_file", "/wJalrXUtnFEMI", HIDDEN),
            ("k_file", "/wJalrXUtnFEMI/K7MDENG", HIDDEN),
            ("k_file", "s3", HIDDEN),
            // A variable that every process of a test has.
            ("k_env", "PATH", "PATH"),
            ("k_env", "AKIAIOSFODNN7EXAMPLE", HIDDEN),
            ("k_env", "/run/secrets/k", HIDDEN),
            ("k_env", "a=b\0", HIDDEN),
            ("k_env", "", HIDDEN),
        ] {
            assert_eq!(
                info.without_secrets(key, &text.into()),
                shown.into(),
                "{key} {text}"
            );
        }
        assert_eq!(info.without_secrets("k_file", &Value::Integer(7)), HIDDEN.into());
    }

    #[test]
    fn credentials_of_urls_are_hidden() {
        for (text, shown, as_secret) in [
            (
                "redis://host:6379/2",
                "redis://host:6379/2",
                "redis://host:6379/2",
            ),
            (
                "redis://u:s3@host/0",
                "redis://<hidden>@host/0",
                "redis://<hidden>@host/0",
            ),
            (
                "rediss://u:s3/c?r#et@@host",
                "rediss://<hidden>@host",
                "rediss://<hidden>@host",
            ),
            (
                "https://host/?key=s3",
                "https://host/?<hidden>",
                "https://host/?<hidden>",
            ),
            ("u:s3@host", "<hidden>@host", "<hidden>"),
            ("plain", "plain", "<hidden>"),
            ("redis://a redis://u:s3@b", "redis://<hidden>@b", "<hidden>"),
        ] {
            assert_eq!(without_credentials(text), shown);
            assert_eq!(secret_url(text), as_secret);
        }
    }
}

//! The keys of one `[[tier]]` table, taken out of it one by one.

use std::path::PathBuf;
use std::time::Duration;

use cache_core::Copying;
use serde::de::DeserializeOwned;

use super::secret::{self, Secret};
use super::secret_file::LiveSecret;
use crate::config::one_line;
use crate::{ConfigError, TierConfig};

/// What is left of a table. A secret is taken out before anything could repeat it in a message.
pub(super) struct Keys<'a> {
    tier: &'a TierConfig,
    left: toml::Table,
    known: Vec<String>,
}

impl<'a> Keys<'a> {
    pub(super) fn of(tier: &'a TierConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            tier,
            left: tier.settings()?,
            known: Vec::new(),
        })
    }

    /// An error about `key`. `what` must not repeat a secret.
    pub(super) fn mistake(&self, key: &str, what: &str) -> ConfigError {
        self.tier.mistake_in(key, what)
    }

    /// The value of `key`, if it is set. No secrets: a message about a value of the wrong type repeats it.
    pub(super) fn value<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.raw(key) else {
            return Ok(None);
        };
        value
            .try_into()
            .map(Some)
            .map_err(|error: toml::de::Error| self.mistake(key, &one_line(error.message())))
    }

    /// A time that is not nothing: a text like `"36h"` or `"1m 30s"`, or a number of seconds.
    pub(super) fn duration(&mut self, key: &str) -> Result<Option<Duration>, ConfigError> {
        let duration = match self.raw(key) {
            None => return Ok(None),
            Some(toml::Value::String(text)) => duration(&text),
            Some(toml::Value::Integer(seconds)) => u64::try_from(seconds).ok().map(Duration::from_secs),
            Some(toml::Value::Float(seconds)) => Duration::try_from_secs_f64(seconds).ok(),
            Some(_) => None,
        };
        duration
            .filter(|duration| !duration.is_zero())
            .map(Some)
            .ok_or_else(|| self.mistake(key, "expected a time such as \"36h\", or a number of seconds"))
    }

    /// When to copy: `"background"`, `"inline"` or `"off"`.
    pub(super) fn copying(&mut self, key: &str) -> Result<Option<Copying>, ConfigError> {
        Ok(match self.raw(key).as_ref().map(toml::Value::as_str) {
            None => None,
            Some(Some("background")) => Some(Copying::Background),
            Some(Some("inline")) => Some(Copying::Inline),
            Some(Some("off")) => Some(Copying::Off),
            Some(_) => {
                return Err(self.mistake(key, "expected \"background\", \"inline\" or \"off\""));
            }
        })
    }

    /// A secret, which stands in `key`, in the file that `<key>_file` names, or in the environment variable that `<key>_env` names.
    pub(super) fn secret(&mut self, key: &str) -> Result<Option<Secret>, ConfigError> {
        Ok(self.find_secret(key)?.map(|(secret, _)| secret))
    }

    /// The same for a secret that may change while the tier lives.
    pub(super) fn live_secret(&mut self, key: &str) -> Result<Option<LiveSecret>, ConfigError> {
        Ok(self
            .find_secret(key)?
            .map(|(secret, file)| LiveSecret::new(secret, file)))
    }

    /// A secret, and the file that it stands in.
    fn find_secret(&mut self, key: &str) -> Result<Option<(Secret, Option<PathBuf>)>, ConfigError> {
        let keys = [key.to_owned(), format!("{key}_file"), format!("{key}_env")];
        let mut found = None;
        for (form, key) in secret::FORMS.into_iter().zip(&keys) {
            let Some(value) = self.raw(key) else { continue };
            if let Some((other, _)) = found.replace((key, (form, value))) {
                return Err(self
                    .tier
                    .mistake(format!("`{other}` and `{key}` are two places for one secret")));
            }
        }
        let Some((key, (form, value))) = found else {
            return Ok(None);
        };
        // Whatever it is may be a secret that was put in the wrong place: no message repeats it.
        let text = value
            .as_str()
            .ok_or_else(|| self.mistake(key, "expected a string"))?;
        let secret = form(text).map_err(|why| self.mistake(key, &why))?;
        let is_file = *key == keys[1];
        Ok(Some((secret, is_file.then(|| text.into()))))
    }

    /// The value of `key` as it stands. It may be a secret: no message may repeat it.
    pub(super) fn raw(&mut self, key: &str) -> Option<toml::Value> {
        self.known.push(format!("`{key}`"));
        self.left.remove(key)
    }

    /// Refuses what nobody has asked for.
    pub(super) fn end(self) -> Result<(), ConfigError> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) => {
                let known = self.known.join(", ");
                Err(self
                    .tier
                    .mistake(format!("unknown field `{key}`, expected one of {known}")))
            }
        }
    }
}

/// Days have 24 hours.
fn duration(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.parse().ok()?;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    span.to_duration(days).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(text: &str) -> TierConfig {
        toml::from_str(&format!("kind = \"k\"\n{text}")).unwrap()
    }

    #[test]
    fn a_time_is_a_text_or_seconds() {
        for (text, seconds) in [
            ("\"36h\"", Some(36.0 * 3600.0)),
            ("\"7d\"", Some(7.0 * 86400.0)),
            ("\"1m 30s\"", Some(90.0)),
            ("\"250ms\"", Some(0.25)),
            ("2", Some(2.0)),
            ("0.5", Some(0.5)),
            ("\"\"", None),
            ("\"36\"", None),
            ("\"1 month\"", None),
            ("\"-2s\"", None),
            ("\"0s\"", None),
            ("0", None),
            ("-1", None),
            ("nan", None),
            ("1e300", None),
            ("true", None),
        ] {
            let tier = tier(&format!("ttl = {text}"));
            let ttl = Keys::of(&tier).unwrap().duration("ttl");
            let ttl = ttl.map(|ttl| ttl.unwrap().as_secs_f64());
            assert_eq!(ttl.as_ref().ok().copied(), seconds, "{text}");
            if let Err(error) = ttl {
                assert!(error.to_string().contains("`ttl`: "), "{error}");
            }
        }
    }

    #[test]
    fn what_nobody_asks_for_is_a_mistake() {
        let tier = tier("size = 1\nsise = 2");
        let mut keys = Keys::of(&tier).unwrap();
        assert_eq!(keys.value::<u64>("size").unwrap(), Some(1));
        assert_eq!(keys.value::<u64>("colour").unwrap(), None);
        let error = keys.end().unwrap_err().to_string();
        assert!(
            error.ends_with("unknown field `sise`, expected one of `size`, `colour`"),
            "{error}"
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named() {
        let tier = tier("size = true\nfill = \"sometimes\"");
        let mut keys = Keys::of(&tier).unwrap();
        let wrong = keys.value::<u64>("size").unwrap_err().to_string();
        assert!(wrong.contains("boolean") && wrong.contains("`size`: "), "{wrong}");
        let wrong = keys.copying("fill").unwrap_err().to_string();
        assert!(
            wrong.contains("\"inline\"") && wrong.contains("`fill`: "),
            "{wrong}"
        );
    }
}

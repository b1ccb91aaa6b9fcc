//! What an operator is told of a key of the configuration.

use toml::{Table, Value};

/// One key of the configuration, or of the table of a kind: what it means, which values it takes, and what happens without it.
///
/// The example file, `config show` and the variables of the environment know keys by these descriptions alone, and a test has them
/// agree with what the kinds of this crate take. An application describes a kind of its own with [`Kinds::describe`](crate::Kinds::describe).
///
/// ```
/// # use layercache::{Kinds, Setting, Unset, ValueType};
/// # let mut kinds = Kinds::default();
/// kinds.describe("memory", &[
///     Setting::new("max_bytes", ValueType::Size, "How much is kept.", Unset::Value("\"64MiB\"")),
/// ]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub(crate) key: &'static str,
    pub(crate) about: &'static str,
    pub(crate) value_type: ValueType,
    pub(crate) unset: Unset,
    pub(crate) example: Option<&'static str>,
    pub(crate) instead_of: Option<&'static str>,
    pub(crate) elsewhere: bool,
}

/// Which values a key takes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum ValueType {
    /// `true` or `false`.
    Flag,
    /// A number of things.
    Count,
    /// A number of bytes, or a text like `"50GiB"`.
    Size,
    /// A text like `"36h"`, or a number of seconds.
    Time,
    /// Any text.
    Text,
    /// The path of a file or directory.
    Path,
    /// A URL, which should hold no credentials: those are hidden where it is shown.
    Url,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// What these words say.
    Other(&'static str),
    /// A secret: hidden where it is shown, and taken as it stands from a variable of the environment.
    Secret,
    /// The same for a URL that may hold credentials: they alone are hidden.
    SecretUrl,
    /// A list of URLs that may hold credentials.
    SecretUrls,
}

/// What happens where a key is not set. Values are written as in TOML.
#[derive(Clone, Copy, Debug)]
pub enum Unset {
    /// As if this was set.
    Value(&'static str),
    /// As if the value was set that follows from the table that the key is missing in.
    Follows {
        /// How it follows, in words.
        how: &'static str,
        /// The value.
        value: fn(&Table) -> Value,
    },
    /// As if the value was set that this machine tells.
    Found {
        /// What is looked at, in words.
        how: &'static str,
        /// The value, if there is one.
        value: fn() -> Option<Value>,
    },
    /// This, in words.
    Nothing(&'static str),
    /// An error.
    Required,
}

impl Setting {
    /// A key. `about` is one or more lines of at most 100 characters.
    pub const fn new(key: &'static str, value_type: ValueType, about: &'static str, unset: Unset) -> Self {
        Self {
            key,
            about,
            value_type,
            unset,
            example: None,
            instead_of: None,
            elsewhere: false,
        }
    }

    /// The same with an example of its value, as in TOML: for a key that must be set, or has no default. Where the value may stand
    /// [elsewhere](Self::or_elsewhere), it is one of `<key>_file`.
    #[must_use]
    pub const fn such_as(mut self, example: &'static str) -> Self {
        self.example = Some(example);
        self
    }

    /// The same as another way to say what `key` says: whoever overrides one means both.
    #[must_use]
    pub const fn instead_of(mut self, key: &'static str) -> Self {
        self.instead_of = Some(key);
        self
    }

    /// A secret that may stand in the file that `<key>_file` names, or in the variable that `<key>_env` names, as well. Both are keys
    /// then, which the kind has to take.
    #[must_use]
    pub const fn or_elsewhere(mut self) -> Self {
        self.elsewhere = true;
        self
    }

    /// The keys that it is: three for a secret that may stand elsewhere.
    pub(crate) fn keys(&self) -> Vec<String> {
        let key = self.key;
        match self.elsewhere {
            true => vec![key.to_owned(), format!("{key}_file"), format!("{key}_env")],
            false => vec![key.to_owned()],
        }
    }

    /// What its value would be in `table` if nobody sets it; `None` where there is none.
    pub(crate) fn default_in(&self, table: &Table) -> Option<Value> {
        match self.unset {
            Unset::Value(text) => text.parse().ok(),
            Unset::Follows { value, .. } => Some(value(table)),
            Unset::Found { value, .. } => value(),
            Unset::Nothing(_) | Unset::Required => None,
        }
    }

    /// The value that a variable of the environment means for `key`, one of [`keys`](Self::keys). A secret may look like anything, and
    /// is taken as it stands.
    pub(crate) fn parse(&self, key: &str, text: &str) -> Value {
        let parsed = parse(text);
        match self.value_type {
            ValueType::Secret | ValueType::SecretUrl if key == self.key => Value::String(text.to_owned()),
            ValueType::Text
            | ValueType::Path
            | ValueType::Url
            | ValueType::Choice(_)
            | ValueType::Secret
            | ValueType::SecretUrl
                if !parsed.is_str() =>
            {
                Value::String(text.to_owned())
            }
            _ => parsed,
        }
    }
}

/// What a text means of which nothing is known: TOML where it is, else itself.
pub(crate) fn parse(text: &str) -> Value {
    text.parse().unwrap_or_else(|_| Value::String(text.to_owned()))
}

impl ValueType {
    /// What an operator is told of it.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Flag => "true or false".into(),
            Self::Count => "a number".into(),
            Self::Size => "a size: a number of bytes, or a text like \"50GiB\"".into(),
            Self::Time => "a time: a text like \"36h\" or \"1m 30s\", or a number of seconds".into(),
            Self::Text => "a text".into(),
            Self::Path => "a path".into(),
            Self::Url => "a URL".into(),
            Self::Choice(texts) => texts
                .iter()
                .map(|text| format!("{text:?}"))
                .collect::<Vec<_>>()
                .join(", "),
            Self::Other(words) => words.into(),
            Self::Secret => "a secret".into(),
            Self::SecretUrl => "a secret, which is a URL".into(),
            Self::SecretUrls => "a list of secrets, which are URLs".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_means_what_its_key_takes() {
        for (value_type, key, text, means) in [
            (ValueType::Flag, "k", "true", Value::Boolean(true)),
            (ValueType::Flag, "k", "yes", "yes".into()),
            (ValueType::Count, "k", "8", Value::Integer(8)),
            (ValueType::Size, "k", "8", Value::Integer(8)),
            (ValueType::Size, "k", "50GiB", "50GiB".into()),
            (ValueType::Time, "k", "0.5", Value::Float(0.5)),
            (ValueType::Time, "k", "2s", "2s".into()),
            (ValueType::Text, "k", "1234", "1234".into()),
            (ValueType::Text, "k", "\"quoted\"", "quoted".into()),
            (ValueType::Text, "k", "1\nother = 2", "1\nother = 2".into()),
            (ValueType::Path, "k", "/x y", "/x y".into()),
            (
                ValueType::Other("a list"),
                "k",
                "[\"a\"]",
                Value::Array(vec!["a".into()]),
            ),
            // A password may look like anything.
            (ValueType::Secret, "k", "1234", "1234".into()),
            (ValueType::Secret, "k", "\"quoted\"", "\"quoted\"".into()),
            (ValueType::Secret, "k_file", "\"/quoted\"", "/quoted".into()),
            (ValueType::Secret, "k_env", "true", "true".into()),
        ] {
            let setting = Setting::new("k", value_type, "", Unset::Required);
            assert_eq!(setting.parse(key, text), means, "{value_type:?} {text}");
        }
    }
}

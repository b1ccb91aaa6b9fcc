//! Values as they may be shown: without secrets.

use std::path::Path;

use toml::Value;

use super::setting::{Setting, ValueType};

/// What stands in the place of a secret.
pub(super) const HIDDEN: &str = "<hidden>";

impl Setting {
    /// A value of `key`, one of its keys, as it may be shown.
    pub(super) fn without_secrets(&self, key: &str, value: &Value) -> Value {
        if key != self.key {
            return place(key, value);
        }
        match self.value_type {
            ValueType::Secret => HIDDEN.into(),
            ValueType::SecretUrl | ValueType::SecretUrls => map_texts(value, &secret_url),
            ValueType::Path => value.clone(),
            _ => map_texts(value, &without_credentials),
        }
    }
}

/// Where a secret is to be found, as `<key>_file` or `<key>_env` says, is none. But what can be no such place may be a secret in the
/// wrong place. The ID of an access key looks like the name of a variable, so only one that is set is taken for one; and a secret in base64
/// may begin with a slash, so only a path is taken for one that begins in the root directory of this machine.
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

/// The same with other texts, those that are keys of a table included; what is neither a text nor holds any stays as it is.
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

/// A URL that is a secret, without its credentials. What is no URL is not shown at all: any part of it may be a secret.
fn secret_url(text: &str) -> String {
    match text.split_once("://") {
        Some(("redis" | "rediss" | "http" | "https", rest)) if !rest.contains(char::is_whitespace) => {
            without_credentials(text)
        }
        _ => HIDDEN.to_owned(),
    }
}

/// A text without the credentials of a URL, which its query may hold as well. A password may contain any character that was forgotten to
/// be escaped: what follows the last `@` is the host.
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
    use crate::Unset;

    #[test]
    fn a_place_is_shown_where_it_can_be_one() {
        let setting = Setting::new("k", ValueType::Secret, "", Unset::Required).or_elsewhere();
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
                setting.without_secrets(key, &text.into()),
                shown.into(),
                "{key} {text}"
            );
        }
        assert_eq!(
            setting.without_secrets("k_file", &Value::Integer(7)),
            HIDDEN.into()
        );
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

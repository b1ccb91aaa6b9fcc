//! Values as they may be shown: without secrets.

use toml::Value;

use super::setting::{Setting, ValueType};

/// What stands in the place of a secret.
pub(super) const HIDDEN: &str = "<hidden>";

impl Setting {
    /// A value of `key`, one of its keys, as it may be shown.
    pub(super) fn without_secrets(&self, key: &str, value: &Value) -> Value {
        match self.value_type {
            // Where a secret is to be found is none.
            ValueType::Secret | ValueType::SecretUrl if key != self.key => value.clone(),
            ValueType::Secret => HIDDEN.into(),
            ValueType::SecretUrl | ValueType::SecretUrls => map_texts(value, &secret_url),
            ValueType::Path => value.clone(),
            _ => map_texts(value, &without_credentials),
        }
    }
}

/// The same with other texts; what is neither a text nor holds any stays as it is.
fn map_texts(value: &Value, change: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => change(text).into(),
        Value::Array(values) => Value::Array(values.iter().map(|value| map_texts(value, change)).collect()),
        Value::Table(table) => {
            let entries = table.iter();
            Value::Table(
                entries
                    .map(|(key, value)| (key.clone(), map_texts(value, change)))
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

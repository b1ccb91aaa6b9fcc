//! The `WWW-Authenticate` header (RFC 9110, section 11.6.1) and the bearer challenge of registries in it.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// Longest header looked at, in bytes.
const MAX_LEN: usize = 8 << 10;

/// What a registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer(Bearer),
}

/// Where to get a token, as in <https://distribution.github.io/distribution/spec/auth/token/>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) realm: String,
    pub(super) service: Option<String>,
    pub(super) scope: Option<String>,
}

/// The challenge to answer: bearer before basic; `None` if there is none that we know.
pub(super) fn find(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers
        .get_all(WWW_AUTHENTICATE)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let schemes: Vec<Scheme> = texts.flat_map(parse).collect();
    let bearer = schemes.iter().find_map(|scheme| {
        let is_bearer = scheme.name.eq_ignore_ascii_case("bearer");
        let realm = is_bearer.then(|| scheme.get("realm")).flatten()?;
        Some(Bearer {
            realm,
            service: scheme.get("service"),
            scope: scheme.get("scope"),
        })
    });
    let basic = || {
        schemes
            .iter()
            .any(|scheme| scheme.name.eq_ignore_ascii_case("basic"))
    };
    bearer
        .map(Challenge::Bearer)
        .or_else(|| basic().then_some(Challenge::Basic))
}

#[derive(Debug, PartialEq, Eq)]
struct Scheme {
    name: String,
    parameters: Vec<(String, String)>,
}

impl Scheme {
    fn get(&self, name: &str) -> Option<String> {
        let found = self
            .parameters
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
    }
}

/// Schemes and parameters are both separated by commas: a word starts a parameter if `=` and a value follow, else a scheme.
/// Reading stops at the first thing that is neither.
fn parse(text: &str) -> Vec<Scheme> {
    let mut schemes: Vec<Scheme> = Vec::new();
    let Some(mut rest) = Some(text).filter(|text| text.len() <= MAX_LEN) else {
        return schemes;
    };
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = rest.split_at(rest.find(|c| !is_token_char(c)).unwrap_or(rest.len()));
        if word.is_empty() {
            return schemes;
        }
        let value = after
            .trim_start_matches([' ', '\t'])
            .strip_prefix('=')
            .and_then(read_value);
        match (value, schemes.last_mut()) {
            (Some((value, after)), Some(scheme)) => {
                scheme.parameters.push((word.to_owned(), value));
                rest = after;
            }
            (Some(_), None) => return schemes,
            (None, _) => {
                schemes.push(Scheme {
                    name: word.to_owned(),
                    parameters: Vec::new(),
                });
                rest = after;
            }
        }
    }
}

/// A token or a quoted string, and what follows it.
fn read_value(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text
            .find(|c: char| !is_token_char(c) && !matches!(c, ':' | '/'))
            .unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn challenge(values: &[&'static str]) -> Option<Challenge> {
        let headers = values
            .iter()
            .map(|value| (WWW_AUTHENTICATE, value.parse().unwrap()));
        find(&HeaderMap::from_iter(headers))
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer(Bearer {
            realm: realm.into(),
            service: own(service),
            scope: own(scope),
        }))
    }

    #[test]
    fn what_registries_send_is_understood() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let expected = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:a/b:pull,push"),
        );
        assert_eq!(challenge(&[hub]), expected);
        assert_eq!(
            challenge(&["bearer  Realm = \"https://a/t\" , service=x"]),
            bearer("https://a/t", Some("x"), None)
        );
        assert_eq!(
            challenge(&[r#"Bearer realm="a\"b\\c""#]),
            bearer(r#"a"b\c"#, None, None)
        );
        assert_eq!(
            challenge(&[r#"Basic realm="x", Bearer realm="https://a/t""#]),
            bearer("https://a/t", None, None)
        );
        assert_eq!(
            challenge(&[r#"Basic realm="Bearer realm=no""#]),
            Some(Challenge::Basic)
        );
        assert_eq!(
            challenge(&["Negotiate", "Basic realm=\"x\""]),
            Some(Challenge::Basic)
        );
    }

    #[test]
    fn what_is_no_challenge_is_none() {
        for text in [
            "",
            ",",
            "=",
            "Negotiate abc=",
            "Bearer",
            "Bearer service=\"x\"",
            "Bearer realm=\"open",
            "realm=x",
        ] {
            let text: &'static str = text;
            assert_eq!(challenge(&[text]), None, "{text}");
        }
        assert_eq!(challenge(&[]), None);
    }

    proptest! {
        #[test]
        fn quoted_values_survive(realm in "[ -~]{1,40}", scope in "[ -~]{0,40}") {
            let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let text = format!("Bearer realm=\"{}\",scope=\"{}\"", quote(&realm), quote(&scope));
            let scheme = &parse(&text)[0];
            prop_assert_eq!(scheme.get("realm"), Some(realm));
            prop_assert_eq!(scheme.get("scope").unwrap_or_default(), scope);
        }

        #[test]
        fn any_text_ends_without_a_panic(text in "([a-zA-Z]{0,6}|[ =\",\\\\]|\\PC){0,60}") {
            parse(&text);
        }
    }
}

//! A repository of a registry: the locator that the `registry` origin writes into layer descriptors.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use cache_core::Error;

use crate::excerpt::excerpt;

const DOCKER_HUB: &str = "docker.io";
const LEGACY_DOCKER_HUB: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
/// Of the path, as in the distribution project; also taken for the host, where DNS allows no more.
const MAX_LEN: usize = 255;

/// A registry host and the path of a repository on it, written `host[:port]/path`.
///
/// Parsing normalises as Docker does (`debian` is `docker.io/library/debian`). A path is made of lower-case letters,
/// digits and single separators, so it can stand in a URL and never climbs (`..`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Repository {
    host: Box<str>,
    path: Box<str>,
}

impl Repository {
    /// The host with its port, if one was given, as in the text: `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path on the host: `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A repository whose parts were checked already.
    pub(crate) fn at(host: &str, path: &str) -> Self {
        Self {
            host: host.into(),
            path: path.into(),
        }
    }

    pub(crate) fn normalised(name: &str) -> Result<Self, &'static str> {
        let (host, path) = match name.split_once('/') {
            Some((first, rest)) if is_host_like(first) => (first, rest),
            _ => (DOCKER_HUB, name),
        };
        if !is_host(host) {
            return Err("the host is neither a name nor an address with an optional port");
        }
        let host = if host == LEGACY_DOCKER_HUB {
            DOCKER_HUB
        } else {
            host
        };
        let official = host == DOCKER_HUB && !path.contains('/');
        if official && path.len() == 64 && path.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err("64 hex digits are an image ID, not a name");
        }
        let path = if official {
            format!("{OFFICIAL_PREFIX}{path}")
        } else {
            path.to_owned()
        };
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err("the name of a repository must be lower case");
        }
        if !is_path(&path) {
            return Err(
                "a name has at most 255 characters: lower-case words joined by `/`, `.`, `_`, `__` or `-`",
            );
        }
        Ok(Self {
            host: host.into(),
            path: path.into(),
        })
    }
}

impl FromStr for Repository {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::normalised(text)
            .map_err(|why| Error::invalid(format!("not a repository: \"{}\": {why}", excerpt(text))))
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

/// Whether the part in front of the first slash names a host and not the first part of a path.
fn is_host_like(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// A name or an address, with or without a port.
pub(crate) fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            if address.parse::<Ipv6Addr>().is_err() {
                return false;
            }
            match (port, port.strip_prefix(':')) {
                ("", _) => (None, None),
                (_, Some(port)) => (None, Some(port)),
                _ => return false,
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    text.len() <= MAX_LEN && host.is_none_or(is_domain) && port.is_none_or(is_port)
}

fn is_domain(host: &str) -> bool {
    host.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Whether `path` is a repository path of the distribution specification.
pub(crate) fn is_path(path: &str) -> bool {
    path.len() <= MAX_LEN && path.split('/').all(is_path_component)
}

/// Words of `[a-z0-9]+` with a separator between each two: `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators_are_single = component
        .split(|c: char| c.is_ascii() && word(c as u8))
        .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-'));
    let bytes = component.as_bytes();
    separators_are_single
        && bytes.first().copied().is_some_and(word)
        && bytes.last().copied().is_some_and(word)
}

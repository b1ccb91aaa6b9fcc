//! Image references, in the grammar of <https://github.com/distribution/reference> and with Docker's defaults.

use std::fmt;
use std::str::FromStr;

use cache_core::{Digest, Error};

use crate::excerpt::excerpt;
use crate::repository::Repository;

const DEFAULT_TAG: &str = "latest";
const MAX_TAG_LEN: usize = 128;

/// Which image of which repository is meant, as `docker pull` and containerd write it.
///
/// ```
/// # use registry::ImageReference;
/// let short: ImageReference = "debian".parse().unwrap();
/// assert_eq!(short.to_string(), "docker.io/library/debian:latest");
/// let long: ImageReference = "[::1]:5000/team/app:v2".parse().unwrap();
/// assert_eq!((long.repository().host(), long.tag()), ("[::1]:5000", Some("v2")));
/// assert!("registry.example/../secret".parse::<ImageReference>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageReference {
    repository: Repository,
    tag: Option<Box<str>>,
    digest: Option<Digest>,
}

impl ImageReference {
    /// The registry host and the repository on it.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag, `latest` where the text had neither tag nor digest. `None` where it had a digest alone.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest or index. It decides which one is fetched, whatever the tag.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }
}

impl FromStr for ImageReference {
    type Err = Error;

    /// Reads `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](cache_core::ErrorKind::Invalid) for anything else.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid =
            |why: &str| Error::invalid(format!("not an image reference: \"{}\": {why}", excerpt(text)));
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(invalid(&format!(
                "it begins with the host or the name: leave out `{}://`",
                excerpt(scheme)
            )));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse().map_err(|e| invalid(&format!("{e}")))?)),
            None => (text, None),
        };
        // A colon after the last slash starts the tag; one before it belongs to the port or to an IPv6 address.
        let path_start = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[path_start..].find(':') {
            Some(colon) => (&name[..path_start + colon], Some(&name[path_start + colon + 1..])),
            None => (name, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid(
                "a tag has 1 to 128 letters, digits, `_`, `.` and `-`, no `.` or `-` first",
            ));
        }
        let repository = Repository::normalised(name).map_err(invalid)?;
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG),
            (tag, _) => tag,
        };
        Ok(Self {
            repository,
            tag: tag.map(Into::into),
            digest,
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG_LEN
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn frequent_mistakes_are_named() {
        for (text, words) in [
            ("docker://debian:12", "leave out `docker://`"),
            ("https://ghcr.io/owner/app", "leave out `https://`"),
            ("Debian", "must be lower case"),
            ("ghcr.io/Owner/app", "must be lower case"),
        ] {
            let error = text.parse::<ImageReference>().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn short_names_get_the_defaults_of_docker() {
        let cases = [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:12", "docker.io/library/debian:12"),
            ("team/app", "docker.io/team/app:latest"),
            ("docker.io/debian", "docker.io/library/debian:latest"),
            ("index.docker.io/debian", "docker.io/library/debian:latest"),
            ("docker.io/team/app:1", "docker.io/team/app:1"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("registry.example/app", "registry.example/app:latest"),
            ("registry:5000/a/b/c:v1.2_3-x", "registry:5000/a/b/c:v1.2_3-x"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest"),
            ("[::1]:5000/a/b:tag", "[::1]:5000/a/b:tag"),
            ("[2001:db8::1]/a", "[2001:db8::1]/a:latest"),
            ("UPPER/app", "UPPER/app:latest"),
            ("a__b/c-_d".trim_end_matches("-_d"), "docker.io/a__b/c:latest"),
            ("a---b/c.d", "docker.io/a---b/c.d:latest"),
        ];
        for (text, full) in cases {
            assert_eq!(
                text.parse::<ImageReference>().map(|r| r.to_string()).unwrap(),
                full,
                "{text}"
            );
        }
    }

    #[test]
    fn tag_and_digest_may_stand_together() {
        let both: ImageReference = format!("debian:12@sha256:{HEX}").parse().unwrap();
        assert_eq!(
            (both.tag(), both.digest().unwrap().hex().as_str()),
            (Some("12"), HEX)
        );
        let digest: ImageReference = format!("debian@sha256:{HEX}").parse().unwrap();
        assert_eq!(digest.tag(), None);
        assert_eq!(
            digest.to_string(),
            format!("docker.io/library/debian@sha256:{HEX}")
        );
    }

    #[test]
    fn what_could_be_anything_else_is_refused() {
        let long = "a".repeat(256);
        let cases = [
            "",
            "/",
            "debian/",
            "/debian",
            "a//b",
            "Debian",
            "docker.io/Debian",
            "../debian",
            "registry.example/../app",
            "registry.example/a/../../b",
            "registry.example/.a",
            "registry.example/a..b",
            "registry.example/a___b",
            "registry.example/-a",
            "registry.example/a-",
            "registry.example/a?b",
            "registry.example/a%2fb",
            "registry.example/a b",
            "registry.example:/app",
            "registry.example:port/app",
            "registry.example:99999/app",
            "-registry.example/app",
            "registry-.example/app",
            "registry..example/app",
            "user@registry.example/app",
            "https://registry.example/app",
            "[::1/app",
            "[::1]x/app",
            "[::1]:/app",
            "[nothex]/app",
            "debian:",
            "debian:.12",
            "debian:-12",
            "debian:a/b",
            "debian@",
            "debian@sha256:abc",
            "debian@md5:d41d8cd98f00b204e9800998ecf8427e",
            "debian\n",
            "débian",
            HEX,
            &long,
        ];
        for text in cases {
            assert!(text.parse::<ImageReference>().is_err(), "{text}");
        }
        assert!(
            format!("debian:{}", "a".repeat(128))
                .parse::<ImageReference>()
                .is_ok()
        );
        assert!(
            format!("debian:{}", "a".repeat(129))
                .parse::<ImageReference>()
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn what_parses_is_stable_when_written_and_parsed_again(
            host in "|localhost:[1-9][0-9]{0,3}/|[a-z]{1,5}\\.[a-z]{2,3}/|\\[::[0-9a-f]{1,4}\\]:[1-9][0-9]{0,3}/",
            path in "[a-z0-9]{1,5}(/[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}){0,2}",
            tag in "(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,9})?",
            digest: bool,
        ) {
            let digest = if digest { format!("@sha256:{HEX}") } else { String::new() };
            let reference: ImageReference = format!("{host}{path}{tag}{digest}").parse().unwrap();
            prop_assert_eq!(&reference.to_string().parse::<ImageReference>().unwrap(), &reference);
            prop_assert!(reference.repository().path().ends_with(&path));
        }

        #[test]
        fn any_text_is_refused_or_stable(text in "[a-zA-Z0-9:/@\\[\\]._ -]{0,40}|\\PC{0,40}") {
            if let Ok(reference) = text.parse::<ImageReference>() {
                prop_assert!(!reference.repository().path().contains(".."));
                prop_assert_eq!(reference.to_string().parse::<ImageReference>().unwrap(), reference);
            }
        }
    }
}

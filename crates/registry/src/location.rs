//! Where an image is: in a registry, in a layout directory or in an archive.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use cache_core::{Error, LayerDescriptor, Probe};

use crate::ImageReference;

/// An image as a user names it: `debian:12`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME:TAG]`.
///
/// As in the tools that share this notation, a path ends at its first colon and so cannot contain one.
///
/// ```
/// # use registry::ImageLocation;
/// let location: ImageLocation = "oci:/srv/image:v1".parse().unwrap();
/// assert_eq!(location, ImageLocation::OciLayout { path: "/srv/image".into(), tag: Some("v1".into()) });
/// assert_eq!(location.origin(), "oci");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ImageLocation {
    /// An image of a registry.
    Registry(ImageReference),
    /// An OCI image layout in a directory.
    OciLayout {
        /// The directory.
        path: PathBuf,
        /// Which image of it; may be left out where there is one.
        tag: Option<String>,
    },
    /// An OCI image layout in an uncompressed tar file.
    OciArchive {
        /// The file.
        path: PathBuf,
        /// Which image of it; may be left out where there is one.
        tag: Option<String>,
    },
    /// What `docker save` writes, as an uncompressed tar file.
    DockerArchive {
        /// The file.
        path: PathBuf,
        /// Which image of it, `NAME:TAG`; may be left out where there is one.
        tag: Option<String>,
    },
}

impl ImageLocation {
    /// The name of the origin that can resolve it: `registry`, `oci`, `oci-archive` or `docker-archive`.
    pub fn origin(&self) -> &'static str {
        match self {
            Self::Registry(_) => REGISTRY,
            Self::OciLayout { .. } => OCI_LAYOUT,
            Self::OciArchive { .. } => OCI_ARCHIVE,
            Self::DockerArchive { .. } => DOCKER_ARCHIVE,
        }
    }
}

/// The name of the origin that has written `locator` into the descriptors of an image's layers, as
/// [`repository`](LayerDescriptor::repository): `oci` for `oci:/srv/image`, `registry` for
/// `docker.io/library/debian`.
fn origin_of(locator: &str) -> &'static str {
    split_file_locator(locator).map_or(REGISTRY, |(origin, _)| origin)
}

/// Tells whether the origin of this name would be asked for a layer: each has layers of its own images
/// alone.
pub(crate) fn probe(layer: &LayerDescriptor, origin: &str) -> Probe {
    match layer.repository.as_deref().map(origin_of) == Some(origin) {
        true => Probe::NotAsked,
        false => Probe::Absent,
    }
}

pub(crate) const REGISTRY: &str = "registry";
pub(crate) const OCI_LAYOUT: &str = "oci";
pub(crate) const OCI_ARCHIVE: &str = "oci-archive";
pub(crate) const DOCKER_ARCHIVE: &str = "docker-archive";

/// Splits the locator of an origin that reads files, `oci:/srv/image`, into the origin's name and the path.
pub(crate) fn split_file_locator(text: &str) -> Option<(&'static str, &str)> {
    [OCI_LAYOUT, OCI_ARCHIVE, DOCKER_ARCHIVE]
        .into_iter()
        .find_map(|origin| Some((origin, text.strip_prefix(origin)?.strip_prefix(':')?)))
}

impl FromStr for ImageLocation {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::Invalid`](cache_core::ErrorKind::Invalid) for a missing path or what is no image reference.
    fn from_str(text: &str) -> Result<Self, Error> {
        let Some((origin, rest)) = split_file_locator(text) else {
            if text.starts_with(['/', '.', '~']) {
                return Err(Error::invalid(format!(
                    "a path says what is there: `{OCI_LAYOUT}:PATH`, `{OCI_ARCHIVE}:PATH` or `{DOCKER_ARCHIVE}:PATH`"
                )));
            }
            return text.parse().map(Self::Registry);
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(Error::invalid(format!("`{origin}:` needs a path behind it")));
        }
        if path.contains('\0') || tag == Some("") {
            return Err(Error::invalid(format!(
                "`{origin}:` needs a path and, behind a colon, a tag"
            )));
        }
        let (path, tag) = (PathBuf::from(path), tag.map(str::to_owned));
        Ok(match origin {
            OCI_LAYOUT => Self::OciLayout { path, tag },
            OCI_ARCHIVE => Self::OciArchive { path, tag },
            _ => Self::DockerArchive { path, tag },
        })
    }
}

impl fmt::Display for ImageLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, tag) = match self {
            Self::Registry(reference) => return reference.fmt(f),
            Self::OciLayout { path, tag }
            | Self::OciArchive { path, tag }
            | Self::DockerArchive { path, tag } => (path, tag),
        };
        write!(f, "{}:{}", self.origin(), path.display())?;
        tag.iter().try_for_each(|tag| write!(f, ":{tag}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        let cases = [
            ("oci:dir", "oci"),
            ("oci:/srv/a b/dir:v1", "oci"),
            ("oci-archive:image.tar", "oci-archive"),
            ("oci-archive:../image.tar:v1", "oci-archive"),
            (
                "docker-archive:/tmp/image.tar:registry.example:5000/app:v1",
                "docker-archive",
            ),
            ("docker.io/library/debian:12", "registry"),
            ("oci-layout.example/app:1", "registry"),
        ];
        for (text, origin) in cases {
            let location: ImageLocation = text.parse().unwrap();
            assert_eq!((location.origin(), location.to_string().as_str()), (origin, text));
        }
        for (locator, origin) in [
            ("docker.io/library/debian", "registry"),
            ("oci:/srv/image", "oci"),
            ("oci-archive:image.tar", "oci-archive"),
        ] {
            assert_eq!(origin_of(locator), origin);
        }
        for path in ["/srv/image", "./image.tar", "../image.tar", "~/image"] {
            let error = path.parse::<ImageLocation>().unwrap_err();
            assert!(
                error.message().contains("`oci:PATH`, `oci-archive:PATH`"),
                "{error}"
            );
        }
        let archive: ImageLocation = "docker-archive:image.tar:app:v1".parse().unwrap();
        let (path, tag) = ("image.tar".into(), Some("app:v1".into()));
        assert_eq!(archive, ImageLocation::DockerArchive { path, tag });
    }

    #[test]
    fn a_path_is_needed() {
        for text in [
            "oci:",
            "oci::tag",
            "oci:dir:",
            "oci-archive:",
            "docker-archive:",
            "oci:a\0b",
        ] {
            assert!(text.parse::<ImageLocation>().is_err(), "{text:?}");
        }
    }
}

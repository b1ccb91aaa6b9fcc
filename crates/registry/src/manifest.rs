//! Manifests and indexes as they stand in JSON, OCI's and Docker's.

use std::collections::BTreeMap;

use cache_core::{Digest, Error, Result};
use serde::Deserialize;

use crate::excerpt::excerpt;
use crate::json_object::{self, object, object_or_null, objects};
use crate::media_type;
use crate::platform::Platform;

/// A reference to content by digest.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    #[serde(deserialize_with = "digest")]
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, deserialize_with = "platform")]
    pub(crate) platform: Option<Platform>,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Whether it names provenance or an SBOM that `docker buildx` puts beside the images of an index.
    pub(crate) fn is_attestation(&self) -> bool {
        let annotated = self.annotations.get("vnd.docker.reference.type");
        annotated.is_some_and(|kind| kind == "attestation-manifest")
            || self
                .platform
                .as_ref()
                .is_some_and(|p| p.os() == "unknown" && p.architecture() == "unknown")
    }
}

/// Several manifests, one of which is for the platform in question.
#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    #[serde(deserialize_with = "objects")]
    pub(crate) manifests: Vec<Descriptor>,
}

/// One image for one platform.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    #[serde(deserialize_with = "object")]
    pub(crate) config: Descriptor,
    #[serde(deserialize_with = "objects")]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What was fetched as a manifest.
#[derive(Debug)]
pub(crate) enum Document {
    Index(Index),
    Manifest {
        manifest: Box<Manifest>,
        media_type: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
}

/// Reads a manifest or an index; `content_type` is what its descriptor or the registry calls it.
///
/// The media type in the document wins, then its structure. A document that is both an index and a manifest means
/// different images to different tools (CVE-2021-41190) and is refused.
pub(crate) fn parse(bytes: &[u8], content_type: &str) -> Result<Document> {
    let envelope: Envelope = json_object::from_slice(bytes).map_err(|error| {
        let is_stated = media_type::is_manifest(content_type) || media_type::is_index(content_type);
        let message = if is_stated {
            "the image manifest is no JSON".to_owned()
        } else {
            let kind = excerpt(content_type);
            format!("got `{kind}` instead of an image manifest: something in between may have answered")
        };
        Error::corrupt(message).caused_by(error)
    })?;
    let stated = envelope.media_type.as_deref().unwrap_or_default();
    if envelope.schema_version == Some(1) || media_type::is_schema_1(stated) {
        return Err(Error::permanent(
            "the image has a Docker schema 1 manifest, which is obsolete: push it again with a current tool",
        ));
    }
    let has_manifests = envelope.manifests.is_some();
    let has_layers = envelope.layers.is_some() || envelope.config.is_some();
    if has_manifests && has_layers {
        return Err(Error::corrupt(
            "the manifest is an image index and an image manifest at once",
        ));
    }
    if media_type::is_manifest(stated) && has_manifests || media_type::is_index(stated) && has_layers {
        return Err(Error::corrupt("the manifest contradicts its own media type"));
    }
    let malformed =
        |error: serde_json::Error| Error::corrupt("the image manifest is malformed").caused_by(error);
    if has_manifests {
        return Ok(Document::Index(
            json_object::from_slice(bytes).map_err(malformed)?,
        ));
    }
    if envelope.layers.is_none() || envelope.config.is_none() {
        let kind = envelope
            .artifact_type
            .as_deref()
            .filter(|kind| !kind.is_empty())
            .unwrap_or(stated);
        return Err(Error::permanent(format!(
            "not a container image: a manifest of type `{}` without config and layers",
            excerpt(kind)
        )));
    }
    let manifest = json_object::from_slice(bytes).map_err(malformed)?;
    let media_type = [stated, content_type, media_type::OCI_MANIFEST]
        .into_iter()
        .find(|media_type| media_type::is_manifest(media_type))
        .unwrap_or_default();
    Ok(Document::Manifest {
        manifest,
        media_type: media_type.to_owned(),
    })
}

/// What is read of an image config.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    #[serde(default, deserialize_with = "null_is_empty")]
    os: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    architecture: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    variant: String,
    #[serde(default, deserialize_with = "object_or_null")]
    rootfs: Option<RootFs>,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "null_is_empty")]
    diff_ids: Vec<Digested>,
}

#[derive(Debug, Deserialize)]
struct Digested(#[serde(deserialize_with = "digest")] Digest);

impl Config {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        json_object::from_slice(bytes)
            .map_err(|error| Error::corrupt("the image config is malformed").caused_by(error))
    }

    pub(crate) fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, &self.variant)
    }

    /// The diff IDs of the layers in order; `None` where the config is not one of an image.
    pub(crate) fn diff_ids(&self) -> Option<impl ExactSizeIterator<Item = Digest>> {
        self.rootfs
            .as_ref()
            .map(|rootfs| rootfs.diff_ids.iter().map(|digested| digested.0))
    }
}

fn digest<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

fn platform<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Platform>, D::Error> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(default)]
        os: String,
        #[serde(default)]
        architecture: String,
        #[serde(default)]
        variant: Option<String>,
    }
    let raw: Option<Raw> = object_or_null(deserializer)?;
    Ok(raw.map(|raw| {
        Platform::new(
            &raw.os,
            &raw.architecture,
            raw.variant.as_deref().unwrap_or_default(),
        )
    }))
}

/// Go writes an empty list or map as `null`.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::ErrorKind;

    fn refused(text: &str) -> (ErrorKind, String) {
        let error = parse(text.as_bytes(), "text/html").unwrap_err();
        (error.kind(), error.to_string())
    }

    #[test]
    fn what_is_no_image_is_named() {
        let (kind, message) = refused("<html>sign in</html>");
        assert_eq!(
            (kind, message.contains("text/html")),
            (ErrorKind::Corrupt, true),
            "{message}"
        );
        let (kind, message) = refused(r#"{"schemaVersion":1,"fsLayers":[]}"#);
        assert_eq!(
            (kind, message.contains("schema 1")),
            (ErrorKind::Permanent, true),
            "{message}"
        );
        let (kind, message) = refused(r#"{"schemaVersion":2,"artifactType":"application/x-sbom"}"#);
        assert_eq!(
            (kind, message.contains("application/x-sbom")),
            (ErrorKind::Permanent, true),
            "{message}"
        );
    }

    /// They were taken for objects once, which no other tool does: an image that only this one sees.
    #[test]
    fn lists_of_values_are_no_objects() {
        let config = format!(r#"["", "sha256:{}", 2]"#, "0".repeat(64));
        let manifest = |config: &str| parse(format!(r#"{{"config":{config},"layers":[]}}"#).as_bytes(), "");
        assert_eq!(manifest(&config).unwrap_err().kind(), ErrorKind::Corrupt);
        let index = format!(r#"{{"manifests":[{config}]}}"#);
        assert_eq!(
            parse(index.as_bytes(), "").unwrap_err().kind(),
            ErrorKind::Corrupt
        );
        assert!(Config::parse(br#"{"rootfs":{"diff_ids":[]}}"#).is_ok());
        for config in [r#"{"rootfs":[[]]}"#, r#"["linux","amd64","",{"diff_ids":[]}]"#] {
            assert_eq!(
                Config::parse(config.as_bytes()).unwrap_err().kind(),
                ErrorKind::Corrupt
            );
        }
    }

    #[test]
    fn an_index_that_is_also_a_manifest_is_refused() {
        let (kind, message) = refused(r#"{"schemaVersion":2,"manifests":[],"config":{},"layers":[]}"#);
        assert_eq!(
            (kind, message.contains("at once")),
            (ErrorKind::Corrupt, true),
            "{message}"
        );
        let text = format!(r#"{{"mediaType":"{}","manifests":[]}}"#, media_type::OCI_MANIFEST);
        assert_eq!(refused(&text).0, ErrorKind::Corrupt);
    }

    #[test]
    fn a_digest_that_climbs_is_refused() {
        let text = r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:../../etc/passwd","size":1}]}"#;
        assert_eq!(refused(text).0, ErrorKind::Corrupt);
    }
}

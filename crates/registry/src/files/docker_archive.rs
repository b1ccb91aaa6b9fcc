//! The origin of what `docker save` writes.
//!
//! ```text
//! manifest.json    [{"Config": "<name>", "RepoTags": ["app:v1"], "Layers": ["<name>", ...]}, ...]
//! <name>           configs, and layers: tar files, or links to those of another layer
//! ```
//! There is no manifest and layers have no digest of their own, so a layer's diff ID is its digest too. Some tools put
//! compressed layers in; those are taken where their name is their digest (`<hex>.tar.gz`, `blobs/sha256/<hex>`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::inflate::Inflater;
use cache_core::{
    Capabilities, Digest, Error, ErrorKind, LayerDescriptor, LayerReader, LayerSource, Probe, Result, Role,
};
use serde::Deserialize;

use super::archive::{Archive, is_compressed};
use super::content::Content;
use super::slice::FileSlice;
use super::{blocking, path_of};
use crate::excerpt::excerpt;
use crate::image::check_layer_counts;
use crate::location::{DOCKER_ARCHIVE, probe};
use crate::manifest::Config;
use crate::resolve::{MAX_CONFIG_LEN, MAX_MANIFEST_LEN};
use crate::{Image, ImageLocation, ImageReference, ImageSource, OriginStats, Platform};

/// Most images of an archive: each costs reading its config whenever a layer is opened.
const MAX_IMAGES: usize = 256;

/// The origin named `docker-archive`, with locators `docker-archive:FILE`. The archive must be an uncompressed tar file.
#[derive(Clone, Debug)]
pub struct DockerArchiveOrigin {
    inflater: Inflater,
    stats: OriginStats,
}

/// One image of the archive, as `manifest.json` lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// An image of the archive with its config and its layers' places.
struct Opened {
    config: Bytes,
    parsed: Config,
    layers: Vec<(Digest, Digest, FileSlice)>,
}

impl DockerArchiveOrigin {
    /// An origin with its own counters.
    pub fn new(inflater: Inflater) -> Self {
        Self {
            inflater,
            stats: OriginStats::new(DOCKER_ARCHIVE),
        }
    }

    /// What it cost so far.
    pub fn stats(&self) -> OriginStats {
        self.stats.clone()
    }

    /// Opens the archive and reads its list of images. Blocks.
    fn entries(&self, path: &Path) -> Result<(Archive, Vec<Entry>)> {
        let archive = Archive::open(path, self.stats.clone())?;
        let manifest = archive.file("manifest.json")?.ok_or_else(|| {
            Error::permanent(format!(
                "{} has no manifest.json: `docker save` did not write it; try `oci-archive:`",
                path.display()
            ))
        })?;
        let entries: Vec<Entry> = serde_json::from_slice(
            &manifest.read_all(MAX_MANIFEST_LEN, "manifest.json")?,
        )
        .map_err(|error| Error::corrupt("the archive's manifest.json is malformed").caused_by(error))?;
        if entries.len() > MAX_IMAGES {
            return Err(Error::permanent(format!(
                "the archive has more than {MAX_IMAGES} images"
            )));
        }
        Ok((archive, entries))
    }

    async fn open_blob(&self, layer: &LayerDescriptor) -> Result<Option<FileSlice>> {
        let Some(path) = path_of(layer, DOCKER_ARCHIVE)? else {
            return Ok(None);
        };
        let (origin, path, wanted) = (self.clone(), PathBuf::from(path), layer.digest);
        blocking(move || {
            let (archive, entries) = origin.entries(&path)?;
            for entry in &entries {
                let layers = open_entry(&archive, entry)?.layers;
                if let Some((_, _, blob)) = layers.into_iter().find(|(digest, ..)| *digest == wanted) {
                    return Ok(Some(blob));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Blocks.
    fn resolve_path(&self, path: &Path, tag: Option<&str>) -> Result<Image> {
        let (archive, entries) = self.entries(path)?;
        let Opened {
            config,
            parsed,
            layers,
        } = open_entry(&archive, tagged(&entries, tag)?)?;
        let repository: Arc<str> = format!("{DOCKER_ARCHIVE}:{}", path.display()).into();
        let descriptor = |(digest, diff_id, blob): (Digest, Digest, FileSlice)| {
            LayerDescriptor::new(digest)
                .with_size(blob.len())
                .with_diff_id(diff_id)
                .with_repository(Arc::clone(&repository))
        };
        Ok(Image {
            manifest_digest: None,
            media_type: None,
            platform: parsed.platform(),
            config_digest: Digest::sha256_of(&config),
            config,
            layers: layers.into_iter().map(descriptor).collect(),
            annotations: BTreeMap::new(),
            repository,
        })
    }
}

/// The image that is meant: the one with the tag, or the only one.
fn tagged<'a>(entries: &'a [Entry], tag: Option<&str>) -> Result<&'a Entry> {
    let tags = |entry: &'a Entry| entry.repo_tags.iter().flatten();
    let listed = || {
        let all = entries.iter().flat_map(tags).take(20);
        all.map(|tag| excerpt(tag)).collect::<Vec<_>>().join(", ")
    };
    // `app:v1` means the same image as `docker.io/library/app:v1`.
    let full = |tag: &str| tag.parse::<ImageReference>().ok();
    match (tag, entries) {
        (Some(tag), _) => entries
            .iter()
            .find(|entry| tags(entry).any(|t| t == tag || (full(tag).is_some() && full(t) == full(tag))))
            .ok_or_else(|| {
                let message = format!(
                    "the archive has no image \"{}\"; it has: {}",
                    excerpt(tag),
                    listed()
                );
                Error::new(ErrorKind::NotFound, message)
            }),
        (None, [entry]) => Ok(entry),
        (None, []) => Err(Error::new(ErrorKind::NotFound, "the archive has no image")),
        (None, _) => Err(Error::invalid(format!(
            "the archive has several images, add `:NAME:TAG` for one of: {}",
            listed()
        ))),
    }
}

fn open_entry(archive: &Archive, entry: &Entry) -> Result<Opened> {
    let missing = |name: &str| Error::corrupt(format!("the archive has no member \"{}\"", excerpt(name)));
    let config = archive
        .file(&entry.config)?
        .ok_or_else(|| missing(&entry.config))?;
    let config = config.read_all(MAX_CONFIG_LEN, "the image config")?;
    let parsed = Config::parse(&config)?;
    let diff_ids = parsed
        .diff_ids()
        .ok_or_else(|| Error::permanent("not a container image: no rootfs"))?;
    let names = entry.layers.as_deref().unwrap_or_default();
    check_layer_counts(names.len(), diff_ids.len())?;
    let mut layers = Vec::with_capacity(names.len());
    for (name, diff_id) in names.iter().zip(diff_ids) {
        let blob = archive.file(name)?.ok_or_else(|| missing(name))?;
        let digest = match is_compressed(&blob.head(4)?) {
            true => digest_in(name).ok_or_else(|| {
                let name = excerpt(name);
                Error::permanent(format!(
                    "the layer \"{name}\" is compressed and its name is not its digest"
                ))
            })?,
            false => diff_id,
        };
        layers.push((digest, diff_id, blob));
    }
    Ok(Opened {
        config,
        parsed,
        layers,
    })
}

/// The digest that a member is named for: the part of its last component in front of the first dot.
fn digest_in(name: &str) -> Option<Digest> {
    let stem = name.rsplit('/').next()?.split('.').next()?;
    Digest::from_hex(stem.strip_prefix("sha256:").unwrap_or(stem)).ok()
}

#[async_trait]
impl LayerSource for DockerArchiveOrigin {
    fn name(&self) -> &str {
        DOCKER_ARCHIVE
    }

    fn role(&self) -> Role {
        Role::Origin
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let blob = self.open_blob(layer).await;
        let blob = blob.map_err(|error| error.at(DOCKER_ARCHIVE, "open").of_layer(&layer.digest))?;
        Ok(blob.map(|blob| self.inflater.reader(DOCKER_ARCHIVE, layer, Arc::new(blob))))
    }

    async fn probe(&self, layer: &LayerDescriptor) -> Result<Probe> {
        Ok(probe(layer, DOCKER_ARCHIVE))
    }
}

#[async_trait]
impl ImageSource for DockerArchiveOrigin {
    /// An archive has one platform per image: `platform` is not looked at.
    async fn resolve(&self, location: &ImageLocation, _: &Platform) -> Result<Image> {
        match location {
            ImageLocation::DockerArchive { path, tag } => {
                let (origin, path, tag) = (self.clone(), path.clone(), tag.clone());
                blocking(move || origin.resolve_path(&path, tag.as_deref())).await
            }
            other => Err(Error::permanent(format!(
                "{other} is an image of the origin `{}`",
                other.origin()
            ))),
        }
        .map_err(|error| error.at(DOCKER_ARCHIVE, "resolve"))
    }
}

//! Origins of OCI image layouts, as directories and as archives.
//!
//! The layout is that of <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>:
//! ```text
//! oci-layout             {"imageLayoutVersion": "1.0.0"}
//! index.json             an image index; the tags are annotations of its entries
//! blobs/sha256/<hex>     manifests, configs and layers
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::inflate::Inflater;
use cache_core::{
    Capabilities, Digest, Error, ErrorKind, LayerDescriptor, LayerReader, LayerSource, Probe, Result, Role,
};

use super::archive::Archive;
use super::content::Content;
use super::directory::Directory;
use super::slice::FileSlice;
use super::{blocking, path_of};
use crate::excerpt::excerpt;
use crate::location::{OCI_ARCHIVE, OCI_LAYOUT, probe};
use crate::manifest::{self, Descriptor, Document, Index};
use crate::resolve::{self, Documents, MAX_CONFIG_LEN, MAX_MANIFEST_LEN, Root};
use crate::{Image, ImageLocation, ImageSource, OriginStats, Platform, media_type};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const MAX_MARKER_LEN: u64 = 64 << 10;

/// The origin named `oci` ([`directory`](Self::directory)) or `oci-archive` ([`archive`](Self::archive)).
///
/// Its locators are `oci:DIR` and `oci-archive:FILE`. Nothing is kept open or in memory between two calls.
#[derive(Clone, Debug)]
pub struct LayoutOrigin {
    kind: Kind,
    inflater: Inflater,
    stats: OriginStats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    Archive,
}

impl LayoutOrigin {
    /// The origin of layouts in directories. Symbolic links in a layout are not followed.
    pub fn directory(inflater: Inflater) -> Self {
        Self {
            kind: Kind::Directory,
            inflater,
            stats: OriginStats::new(OCI_LAYOUT),
        }
    }

    /// The origin of layouts in uncompressed tar files.
    pub fn archive(inflater: Inflater) -> Self {
        Self {
            kind: Kind::Archive,
            inflater,
            stats: OriginStats::new(OCI_ARCHIVE),
        }
    }

    /// What it cost so far.
    pub fn stats(&self) -> OriginStats {
        self.stats.clone()
    }

    /// Opens the layout at `path`. Blocks.
    fn layout(&self, path: &Path) -> Result<Layout> {
        let content: Arc<dyn Content> = match self.kind {
            Kind::Directory => Arc::new(Directory::open(path, self.stats.clone())?),
            Kind::Archive => Arc::new(Archive::open(path, self.stats.clone())?),
        };
        let marker = content
            .file("oci-layout")?
            .map(|marker| marker.read_all(MAX_MARKER_LEN, "oci-layout"));
        let version = marker.transpose()?.and_then(|marker| {
            let marker: serde_json::Value = serde_json::from_slice(&marker).ok()?;
            Some(marker.get("imageLayoutVersion")?.as_str()?.starts_with("1."))
        });
        if version != Some(true) {
            let message = format!("{} is not an OCI image layout of version 1", path.display());
            return Err(Error::permanent(message));
        }
        Ok(Layout(content))
    }

    async fn open_blob(&self, layer: &LayerDescriptor) -> Result<Option<FileSlice>> {
        let Some(path) = path_of(layer, self.name())? else {
            return Ok(None);
        };
        let (origin, path, digest) = (self.clone(), PathBuf::from(path), layer.digest);
        let Some(blob) = blocking(move || origin.layout(&path)?.blob(&digest)).await? else {
            return Ok(None);
        };
        match layer.size {
            Some(size) if size != blob.len() => Err(Error::corrupt(format!(
                "the layout has a blob of {} bytes instead of {size}: copy it again",
                blob.len()
            ))),
            _ => Ok(Some(blob)),
        }
    }

    async fn resolve_path(&self, path: &Path, tag: Option<&str>, platform: &Platform) -> Result<Image> {
        let repository = format!("{}:{}", self.name(), path.display()).into();
        let (origin, path) = (self.clone(), path.to_owned());
        let (layout, index) = blocking(move || {
            let layout = origin.layout(&path)?;
            let index = layout.required("index.json", MAX_MANIFEST_LEN)?;
            Ok((layout, index))
        })
        .await?;
        let digest = Digest::sha256_of(&index);
        let Document::Index(index) = manifest::parse(&index, media_type::OCI_INDEX)? else {
            return Err(Error::corrupt("the layout's index.json is no image index"));
        };
        let root = Root {
            digest,
            document: Document::Index(tagged(index, tag)?),
        };
        resolve::resolve(&layout, repository, root, platform).await
    }
}

/// The entries of the index that are meant: those with the tag, or all of them where they are one image.
fn tagged(index: Index, tag: Option<&str>) -> Result<Index> {
    let name = |entry: &Descriptor| entry.annotations.get(REF_NAME).cloned();
    let mut names: Vec<String> = index.manifests.iter().filter_map(name).collect();
    names.sort();
    names.dedup();
    let listed = || {
        names
            .iter()
            .take(20)
            .map(|name| excerpt(name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match tag {
        Some(tag) => {
            let manifests: Vec<_> = index
                .manifests
                .into_iter()
                .filter(|entry| name(entry).as_deref() == Some(tag))
                .collect();
            if manifests.is_empty() {
                let message = format!(
                    "the layout has no image \"{}\"; it has: {}",
                    excerpt(tag),
                    listed()
                );
                return Err(Error::new(ErrorKind::NotFound, message));
            }
            Ok(Index { manifests })
        }
        None if names.len() > 1 => Err(Error::invalid(format!(
            "the layout has several images, add `:TAG` for one of: {}",
            listed()
        ))),
        None => Ok(index),
    }
}

/// An open layout.
#[derive(Clone)]
struct Layout(Arc<dyn Content>);

impl Layout {
    fn blob(&self, digest: &Digest) -> Result<Option<FileSlice>> {
        self.0.file(&blob_name(digest))
    }

    fn required(&self, name: &str, limit: u64) -> Result<Bytes> {
        let file = self.0.file(name)?;
        let file =
            file.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("the layout has no {name}")))?;
        file.read_all(limit, name)
    }

    async fn document(&self, digest: Digest, limit: u64) -> Result<Bytes> {
        let layout = self.clone();
        blocking(move || layout.required(&blob_name(&digest), limit)).await
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

#[async_trait]
impl Documents for Layout {
    async fn manifest(&self, descriptor: &Descriptor) -> Result<Bytes> {
        self.document(descriptor.digest, MAX_MANIFEST_LEN).await
    }

    async fn config(&self, descriptor: &Descriptor) -> Result<Bytes> {
        self.document(descriptor.digest, MAX_CONFIG_LEN).await
    }
}

#[async_trait]
impl LayerSource for LayoutOrigin {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Directory => OCI_LAYOUT,
            Kind::Archive => OCI_ARCHIVE,
        }
    }

    fn role(&self) -> Role {
        Role::Origin
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let blob = self.open_blob(layer).await;
        let blob = blob.map_err(|error| error.at(self.name(), "open").of_layer(&layer.digest))?;
        Ok(blob.map(|blob| self.inflater.reader(self.name(), layer, Arc::new(blob))))
    }

    async fn probe(&self, layer: &LayerDescriptor) -> Result<Probe> {
        Ok(probe(layer, self.name()))
    }
}

#[async_trait]
impl ImageSource for LayoutOrigin {
    async fn resolve(&self, location: &ImageLocation, platform: &Platform) -> Result<Image> {
        match (self.kind, location) {
            (Kind::Directory, ImageLocation::OciLayout { path, tag })
            | (Kind::Archive, ImageLocation::OciArchive { path, tag }) => {
                self.resolve_path(path, tag.as_deref(), platform).await
            }
            (_, other) => Err(Error::permanent(format!(
                "{other} is an image of the origin `{}`",
                other.origin()
            ))),
        }
        .map_err(|error| error.at(self.name(), "resolve"))
    }
}

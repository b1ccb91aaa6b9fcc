//! Fetches layers that were wrong anew, from wherever they can be had.

use std::collections::BTreeSet;

use cache_core::{Digest, ErrorKind, LayerDescriptor, LayerSource};
use cache_disk::{DiskTier, ImageRecord};
use registry::{ImageLocation, Platform};

use super::error::{NotRefetched, OpsError, Place};
use super::progress::Progress;
use super::pull::bring_layer;
use crate::Stack;

/// Images that are looked up for one layer, at most.
const MAX_IMAGES: usize = 8;

/// Fetches layers anew, one after the other.
pub(super) struct Refetch<'a> {
    stack: &'a Stack,
    progress: &'a dyn Progress,
    /// Registries that were not to be reached: none is waited for once more.
    silent: BTreeSet<String>,
}

impl<'a> Refetch<'a> {
    pub(super) fn new(stack: &'a Stack, progress: &'a dyn Progress) -> Self {
        Self {
            stack,
            progress,
            silent: BTreeSet::new(),
        }
    }

    /// Fetches a layer into a directory.
    ///
    /// With a diff ID, which proves the layer right, a tier that has it will do. Otherwise the
    /// layer is fetched as one of an image that is remembered.
    pub(super) async fn layer(
        &mut self,
        disk: &DiskTier,
        digest: &Digest,
        diff_id: Option<Digest>,
    ) -> Result<(), OpsError> {
        let mut alone = LayerDescriptor::new(*digest);
        alone.diff_id = diff_id;
        let mut failed = None;
        if diff_id.is_some() {
            match self.bring(disk, &alone).await {
                Ok(brought) => return brought.end(),
                Err(error) => failed = Some(error),
            }
        }
        let images = disk.images().await?;
        let mut asked = 0;
        for image in images.iter().filter(|image| image.layers.contains(digest)) {
            if asked == MAX_IMAGES {
                break;
            }
            let (location, host) = match location(image) {
                Ok(found) => found,
                Err(error) => {
                    failed = Some(error.into());
                    continue;
                }
            };
            if host.as_ref().is_some_and(|host| self.silent.contains(host)) {
                failed = Some(NotRefetched::SilentRegistry(location).into());
                continue;
            }
            asked += 1;
            let found = self.find(image, &location, digest).await;
            if let (Err(error), Some(host)) = (&found, host)
                && error.kind() == Some(ErrorKind::Unavailable)
            {
                self.silent.insert(host);
            }
            let brought = match found {
                Ok(layer) => self.bring(disk, &layer).await,
                Err(error) => Err(error),
            };
            match brought {
                Ok(brought) => return brought.end(),
                // The reason of an image says more than the absence of the layer elsewhere.
                Err(error) => failed = Some(error),
            }
        }
        if diff_id.is_none() {
            match self.bring(disk, &alone).await {
                Ok(brought) => return brought.end(),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or_else(|| NotRefetched::NoImage.into()))
    }

    async fn bring(&self, disk: &DiskTier, layer: &LayerDescriptor) -> Result<Brought, OpsError> {
        bring_layer(self.stack, layer, self.progress).await?;
        if disk.open(layer).await?.is_some() {
            return Ok(Brought::Here);
        }
        // Directories other than the first one are filled in the background.
        self.stack.cache().flush().await;
        let there = disk.open(layer).await?.is_some();
        Ok(if there { Brought::Here } else { Brought::Elsewhere })
    }

    /// Finds the layer as the image describes it.
    async fn find(
        &self,
        image: &ImageRecord,
        location: &ImageLocation,
        digest: &Digest,
    ) -> Result<LayerDescriptor, OpsError> {
        let platform = image.platform.parse().unwrap_or_else(|_| Platform::host());
        let found = self.stack.resolve(location, &platform).await.at(|| location)?;
        let layer = found.layers.into_iter().find(|layer| layer.digest == *digest);
        layer.ok_or_else(|| {
            NotRefetched::NoLayer {
                image: location.clone(),
                layer: *digest,
            }
            .into()
        })
    }
}

/// The place of a layer that could be had.
enum Brought {
    Here,
    Elsewhere,
}

impl Brought {
    fn end(self) -> Result<(), OpsError> {
        match self {
            Self::Here => Ok(()),
            Self::Elsewhere => Err(NotRefetched::Elsewhere.into()),
        }
    }
}

/// Returns the location of an image, and the host that has to answer for it where that is a
/// registry. A manifest with a digest is asked for by that: a tag may mean another one by now.
fn location(image: &ImageRecord) -> cache_core::Result<(ImageLocation, Option<String>)> {
    let location: ImageLocation = image.name.parse()?;
    let ImageLocation::Registry(reference) = &location else {
        return Ok((location, None));
    };
    let host = reference.repository().host().to_owned();
    let by_digest = match &image.manifest {
        Some(manifest) => format!("{}@{manifest}", reference.repository()).parse()?,
        None => location,
    };
    Ok((by_digest, Some(host)))
}

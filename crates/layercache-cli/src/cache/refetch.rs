//! Layers that were wrong, fetched anew from wherever they can be had.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow, bail};
use layercache::core::{Digest, Error, ErrorKind, LayerDescriptor, LayerSource};
use layercache::disk::{DiskTier, ImageRecord};
use layercache::registry::{ImageLocation, Platform};

use super::{Context, pull};

/// How many images are looked up for one layer.
const MAX_IMAGES: usize = 8;

/// What fetches them, one after the other.
pub(super) struct Refetch<'a> {
    context: &'a Context,
    /// Registries that were not to be reached: none is waited for once more.
    silent: BTreeSet<String>,
}

impl<'a> Refetch<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self {
            context,
            silent: BTreeSet::new(),
        }
    }

    /// Fetches a layer into a directory: from a tier that needs not know of which image it is, which a diff ID proves right, or as one of an
    /// image that is remembered.
    pub(super) async fn layer(
        &mut self,
        disk: &DiskTier,
        digest: &Digest,
        diff_id: Option<Digest>,
    ) -> Result<()> {
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
                    failed = Some(error);
                    continue;
                }
            };
            if host.as_ref().is_some_and(|host| self.silent.contains(host)) {
                failed = Some(anyhow!("{location}: the registry could not be reached before"));
                continue;
            }
            asked += 1;
            let found = self.find(image, &location, digest).await;
            if let (Err(error), Some(host)) = (&found, host)
                && is_outage(error)
            {
                self.silent.insert(host);
            }
            let brought = match found {
                Ok(layer) => self.bring(disk, &layer).await,
                Err(error) => Err(error),
            };
            match brought {
                Ok(brought) => return brought.end(),
                // Why an image could not give it says more than that nobody else has it.
                Err(error) => failed = Some(error),
            }
        }
        if diff_id.is_none() {
            match self.bring(disk, &alone).await {
                Ok(brought) => return brought.end(),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or_else(|| anyhow!("no image is remembered that has the layer")))
    }

    async fn bring(&self, disk: &DiskTier, layer: &LayerDescriptor) -> Result<Brought> {
        pull::bring_layer(self.context, layer).await?;
        if disk.open(layer).await?.is_some() {
            return Ok(Brought::Here);
        }
        // Directories other than the first one are filled in the background.
        self.context.stack.cache().flush().await;
        let there = disk.open(layer).await?.is_some();
        Ok(if there { Brought::Here } else { Brought::Elsewhere })
    }

    /// The layer as the image describes it.
    async fn find(
        &self,
        image: &ImageRecord,
        location: &ImageLocation,
        digest: &Digest,
    ) -> Result<LayerDescriptor> {
        let platform = image.platform.parse().unwrap_or_else(|_| Platform::host());
        let found = self.context.stack.resolve(location, &platform).await;
        let found = found.with_context(|| location.to_string())?;
        let layer = found.layers.into_iter().find(|layer| layer.digest == *digest);
        layer.with_context(|| format!("{location} has no layer {digest} any more"))
    }
}

/// Where a layer is that could be had.
enum Brought {
    Here,
    Elsewhere,
}

impl Brought {
    fn end(self) -> Result<()> {
        match self {
            Self::Here => Ok(()),
            Self::Elsewhere => bail!(
                "it can be had, but this directory has not taken it: it has no room for it, or a tier in front of it has the layer"
            ),
        }
    }
}

/// Where an image is, and the registry that has to answer for it. Its manifest is asked for by its digest where it has one: a tag may mean
/// another by now.
fn location(image: &ImageRecord) -> Result<(ImageLocation, Option<String>)> {
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

fn is_outage(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Error>()
        .is_some_and(|error| error.kind() == ErrorKind::Unavailable)
}

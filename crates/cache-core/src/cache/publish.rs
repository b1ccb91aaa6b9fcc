//! Copying a layer that a tier holds to the tiers that are shared.

use super::entry::Entry;
use super::inner::Inner;
use crate::{Error, ErrorKind, LayerDescriptor, Result, Role};

/// The result of publishing a layer at one tier.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Publication {
    /// The name of the tier.
    pub tier: String,
    /// Whether the layer was written there now (or was there before), or why it is not there.
    pub written: Result<bool>,
}

/// See [`LayerCache::publish`](super::LayerCache::publish).
pub(super) async fn publish(cache: &Inner, layer: &LayerDescriptor) -> Result<Vec<Publication>> {
    cache.check_open(layer)?;
    let tiers = cache.sources.iter().filter(|entry| entry.tier.is_some());
    let (local, shared): (Vec<&Entry>, Vec<&Entry>) =
        tiers.partition(|entry| entry.source.role() != Role::Shared);
    let mut failed = None;
    let mut found = None;
    for (position, entry) in local.iter().chain(&shared).enumerate() {
        match entry.source.open(layer).await {
            Ok(Some(reader)) => {
                found = Some((position, reader));
                break;
            }
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
    }
    let Some((holder, reader)) = found else {
        return Err(failed.unwrap_or_else(|| {
            Error::new(ErrorKind::NotFound, "no tier holds the layer: pull it first")
                .at(&cache.name, "publish")
                .of_layer(&layer.digest)
        }));
    };
    let mut publications = Vec::new();
    for (position, entry) in shared.iter().enumerate() {
        if local.len() + position == holder {
            continue;
        }
        if let Some(written) = cache.write_back.copy(layer, &reader, entry).await {
            publications.push(Publication {
                tier: entry.source.name().to_owned(),
                written,
            });
        }
    }
    Ok(publications)
}

//! Copying a layer that a tier holds to the tiers that are shared.

use std::sync::Arc;

use super::LayerCache;
use super::options::Entry;
use super::write_back::Copy;
use crate::{Error, ErrorKind, LayerDescriptor, Result, Role};

/// What came of publishing a layer at one tier.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Publication {
    /// The name of the tier.
    pub tier: String,
    /// Whether the layer was written there now (or was there before), or why it is not there.
    pub written: Result<bool>,
}

impl LayerCache {
    /// Copies a layer that one of the tiers holds to every [shared](Role::Shared) tier that lacks it. No origin is
    /// asked, and a tier whose [`write_back`](crate::SourceOptions::write_back) is off is filled as well. Dropping the
    /// future gives up the copy under way.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when no tier holds the layer, and the error of the last tier that could not tell.
    /// What the shared tiers say is in the result.
    pub async fn publish(&self, layer: &LayerDescriptor) -> Result<Vec<Publication>> {
        self.0.check_open(layer)?;
        let tiers: Vec<_> = self
            .0
            .sources
            .iter()
            .filter(|entry| entry.tier.is_some())
            .collect();
        let (local, shared): (Vec<&Entry>, Vec<&Entry>) = tiers
            .into_iter()
            .partition(|entry| entry.source.role() != Role::Shared);
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
                    .at(&self.0.name, "publish")
                    .of_layer(&layer.digest)
            }));
        };
        let mut publications = Vec::new();
        for (position, entry) in shared.iter().enumerate() {
            let (Some(tier), Some(meters)) = (&entry.tier, &entry.meters) else {
                continue;
            };
            if local.len() + position == holder {
                continue;
            }
            let copy = Copy {
                layer: layer.clone(),
                reader: Arc::clone(&reader),
                tier: Arc::clone(tier),
                meters: Arc::clone(meters),
                max_len: self.0.max_layer_bytes,
            };
            publications.push(Publication {
                tier: entry.source.name().to_owned(),
                written: self.0.write_back.copy(&copy).await,
            });
        }
        Ok(publications)
    }
}

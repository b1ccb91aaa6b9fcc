//! One source of a cache, with what the cache needs around it.

use std::sync::Arc;

use super::meters::{FailedFills, FillMeters};
use super::options::SourceOptions;
use super::planner::Rules;
use crate::{Error, LayerDescriptor, LayerSource, Tier};

/// One source of a cache; `tier` is the same object where it can be filled.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) source: Arc<dyn LayerSource>,
    pub(super) tier: Option<Arc<dyn Tier>>,
    /// The meters of a tier.
    pub(super) meters: Option<Arc<FillMeters>>,
    pub(super) failed_fills: Arc<FailedFills>,
    pub(super) options: SourceOptions,
    pub(super) rules: Rules,
}

impl Entry {
    pub(super) fn source(source: Arc<dyn LayerSource>, options: SourceOptions) -> Self {
        Self {
            failed_fills: Arc::new(FailedFills::new(source.name())),
            rules: Rules::new(&*source, false, &options),
            source,
            tier: None,
            meters: None,
            options,
        }
    }

    pub(super) fn tier(tier: Arc<dyn Tier>, options: SourceOptions) -> Self {
        Self {
            meters: Some(Arc::new(FillMeters::new(tier.name()))),
            failed_fills: Arc::new(FailedFills::new(tier.name())),
            rules: Rules::new(&*tier, true, &options),
            source: Arc::clone(&tier) as _,
            tier: Some(tier),
            options,
        }
    }

    /// Removes a layer that was found wrong here. Returns whether this is a tier and the layer is gone.
    pub(super) async fn remove_corrupt(&self, layer: &LayerDescriptor) -> bool {
        let Some(tier) = &self.tier else {
            return false;
        };
        match tier.remove(&layer.digest).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "corrupt layer not removed");
                false
            }
        }
    }

    /// Adds the name of the source to an error of reading `layer` there, if the error does not tell.
    pub(super) fn blame(&self, layer: &LayerDescriptor, error: Error) -> Error {
        error.at(self.source.name(), "read").of_layer(&layer.digest)
    }
}

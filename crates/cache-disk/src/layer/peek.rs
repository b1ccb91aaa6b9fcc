//! Looking whether a layer is there, and leaving everything as it is.

use std::sync::Arc;

use cache_core::{Error, LayerDescriptor, LayerReader, Result};

use crate::layer::find::{Intent, Look};
use crate::tier::DiskTier;

/// What [`DiskTier::peek`] saw.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Peek {
    /// The layer is not there.
    Absent,
    /// It is not there, and [`create`](cache_core::Tier::create) would refuse it at once, for this reason. A layer that only turns out too long
    /// while it is written is [absent](Self::Absent).
    Refused(Error),
    /// It is, and this reads it. The layer may be evicted meanwhile, which frees its room once this is dropped.
    Present(Arc<dyn LayerReader>),
    /// Its file is there, but without an index, or with one of another algorithm: opening it hashes all of it first.
    Unverified,
}

impl DiskTier {
    /// Looks what [opening](cache_core::LayerSource::open) `layer` would find, and changes nothing: the time of its last use stays,
    /// eviction does not take it for open, and an index that is lost is not rebuilt. Takes a few system calls, off the runtime;
    /// dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// Those of opening it: `Corrupt` when what is there is not the layer, `Invalid` when it is not the one that the image claims,
    /// `Unavailable` or `Permanent` when the directory cannot be read.
    pub async fn peek(&self, layer: &LayerDescriptor) -> Result<Peek> {
        let look = self.store.look(layer, Intent::Peek, None).await;
        Ok(match look.map_err(self.place("open", &layer.digest))? {
            Look::Absent => match self.store.check_claim(layer) {
                Ok(()) => Peek::Absent,
                Err(error) => Peek::Refused(self.place("create", &layer.digest)(error)),
            },
            Look::Found(reader) => Peek::Present(reader),
            Look::NeedsHashing => Peek::Unverified,
        })
    }
}

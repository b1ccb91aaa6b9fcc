//! The answer to a look at a layer that leaves everything as it is.

use std::sync::Arc;

use cache_core::{Error, LayerReader};

/// The outcome of [`DiskTier::peek`](crate::DiskTier::peek).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Peek {
    /// The layer is not there.
    Absent,
    /// The layer is not there, and [`create`](cache_core::Tier::create) would refuse it at once,
    /// for this reason. A layer that only turns out too long while it is written is
    /// [absent](Self::Absent).
    Refused(Error),
    /// The layer is there, and this reads it. It may be evicted meanwhile, which frees its room
    /// once this is dropped.
    Present(Arc<dyn LayerReader>),
    /// Its file is there, but without an index, or with one of another algorithm: opening it hashes
    /// all of it first.
    Unverified,
}

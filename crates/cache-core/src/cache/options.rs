//! How a cache uses each of its sources.

use std::sync::Arc;

use super::meters::{FailedFills, FillMeters};
use crate::lease::Leases;
use crate::{LayerReader, LayerSource, Role, Tier};

/// When a layer is copied from one source to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copying {
    /// Readers do not wait for it.
    Background,
    /// Readers wait for it: what they read then is the copy, or kept by it.
    Inline,
    /// Never.
    Off,
}

/// How a cache uses one of its sources. By default readers wait for a copy of what was found here, write-backs go on in the
/// background, and there are no leases.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceOptions {
    /// How a layer that was found here gets into the tiers in front.
    ///
    /// [`Background`](Copying::Background) reads it here until it is there, and so believes the source that what it serves is
    /// [`verified`](crate::Capabilities::verified), as a tier does that compares each chunk with a sealed index. With
    /// [`Inline`](Copying::Inline) nothing is read before all of it was compared with the diff ID. So it is in any case with what
    /// can only be read from the beginning, as an origin, or is not verified piece by piece.
    pub fill: Copying,
    /// How a layer that was found behind gets here. Of no meaning for a source that is no tier. A tier that can be read while
    /// it is written is filled on the way, and cannot be any more in the background than that.
    pub write_back: Copying,
    /// Leases on the layers that are published here: workers that lack a layer leave it to one of them to fetch it from an
    /// origin behind, and wait for what it writes back here.
    pub leases: Option<Arc<dyn Leases>>,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            fill: Copying::Inline,
            write_back: Copying::Background,
            leases: None,
        }
    }
}

impl SourceOptions {
    /// The same with [`fill`](Self::fill).
    #[must_use]
    pub fn with_fill(mut self, fill: Copying) -> Self {
        self.fill = fill;
        self
    }

    /// The same with [`write_back`](Self::write_back).
    #[must_use]
    pub fn with_write_back(mut self, write_back: Copying) -> Self {
        self.write_back = write_back;
        self
    }

    /// The same with [`leases`](Self::leases).
    #[must_use]
    pub fn with_leases(mut self, leases: Arc<dyn Leases>) -> Self {
        self.leases = Some(leases);
        self
    }
}

/// One source of a cache; `tier` is the same object where it can be filled.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) source: Arc<dyn LayerSource>,
    pub(super) tier: Option<Arc<dyn Tier>>,
    /// Of a tier.
    pub(super) meters: Option<Arc<FillMeters>>,
    pub(super) failed_fills: Arc<FailedFills>,
    pub(super) options: SourceOptions,
}

impl Entry {
    pub(super) fn source(source: Arc<dyn LayerSource>, options: SourceOptions) -> Self {
        Self {
            failed_fills: Arc::new(FailedFills::new(source.name())),
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
            source: Arc::clone(&tier) as _,
            tier: Some(tier),
            options,
        }
    }

    /// Whether a layer that `reader` opened here can be read in parts, each of which is right if it comes.
    pub(super) fn reads_ranges(&self, reader: &dyn LayerReader) -> bool {
        reader.random_access() && self.source.capabilities().verified
    }

    /// Whether readers are served by `reader`, which was opened here, while a tier in front is being filled.
    pub(super) fn serves_at_once(&self, reader: &dyn LayerReader) -> bool {
        self.reads_ranges(reader) && self.options.fill != Copying::Inline
    }

    /// Whether a layer that is found here is likely served at once. Asked before there is a reader, so the
    /// role decides: to ask an origin is to begin to fetch, whatever its reader can do then.
    pub(super) fn likely_serves_at_once(&self) -> bool {
        !self.is_origin() && self.source.capabilities().verified && self.options.fill != Copying::Inline
    }

    /// Whether asking for a layer here begins to fetch it.
    pub(super) fn is_origin(&self) -> bool {
        self.source.role() == Role::Origin
    }

    /// Whether what is found here gets into the tiers in front.
    pub(super) fn is_copied(&self) -> bool {
        self.options.fill != Copying::Off
    }

    /// Whether it takes layers that were found behind it, by the cache's own decision.
    pub(super) fn takes_layers(&self) -> bool {
        self.tier.is_some() && self.options.write_back != Copying::Off
    }

    /// Whether it is filled on the way, while it is read.
    pub(super) fn fills_on_the_way(&self) -> bool {
        self.takes_layers() && self.source.capabilities().read_while_write
    }
}

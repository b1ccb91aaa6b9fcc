//! How a cache uses each of its sources.

use std::sync::Arc;

use crate::lease::Leases;

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

//! The sources of a composition, which outlive the processes that use them.

use bytes::Bytes;
use cache_core::Digest;
use cache_testkit::sim::{Process, SimOrigin, SimTier, TierKind};

use crate::composition::{Composition, HOSTS, Kind, LAYERS, MAX_SOURCES, bytes_of, digest_of};

/// By position.
const NAMES: [&str; MAX_SOURCES] = ["first", "second", "third", "fourth", "fifth"];

/// One source, as all hosts see it.
#[derive(Debug)]
pub(crate) enum Source {
    /// Each host has one for itself.
    Local([SimTier; HOSTS]),
    Shared(SimTier),
    Origin(SimOrigin),
}

impl Source {
    /// The tier that processes of this host see.
    pub(crate) fn tier(&self, host: usize) -> Option<&SimTier> {
        match self {
            Self::Local(tiers) => Some(&tiers[host]),
            Self::Shared(tier) => Some(tier),
            Self::Origin(_) => None,
        }
    }

    /// Those of every host.
    pub(crate) fn tiers(&self) -> &[SimTier] {
        match self {
            Self::Local(tiers) => tiers,
            Self::Shared(tier) => std::slice::from_ref(tier),
            Self::Origin(_) => &[],
        }
    }

    pub(crate) fn heal(&self) {
        self.tiers().iter().for_each(SimTier::heal);
        if let Self::Origin(origin) = self {
            origin.heal();
        }
    }

    /// What processes of this host find there.
    pub(crate) fn holds(&self, host: usize, layer: usize) -> Option<Bytes> {
        match self.tier(host) {
            Some(tier) => tier.holds(&digest_of(layer)),
            None => Some(bytes_of(layer)),
        }
    }

    /// Who has begun to stream which layer from here.
    pub(crate) fn streams_so_far(&self) -> Vec<(Process, Digest)> {
        match self {
            Self::Origin(origin) => origin.streams_so_far(),
            _ => self.tiers().iter().flat_map(SimTier::streams_so_far).collect(),
        }
    }
}

pub(crate) fn sources(composition: &Composition) -> Vec<Source> {
    let parts = composition.parts.iter().zip(NAMES);
    let sources = parts.map(|(part, name)| {
        let script = || part.script.clone();
        match part.kind {
            Kind::Tier(TierKind::Local) => {
                Source::Local([(); HOSTS].map(|()| SimTier::new(name, TierKind::Local, script())))
            }
            Kind::Tier(kind) => {
                let leases = part.leases.clone().unwrap_or_default();
                Source::Shared(SimTier::with_leases(name, kind, script(), leases))
            }
            Kind::Origin => {
                let layers = (0..LAYERS.len()).map(|layer| (digest_of(layer), bytes_of(layer)));
                Source::Origin(SimOrigin::new(name, layers, script()))
            }
        }
    });
    sources.collect()
}

//! Which sources, in which order, behind which guards, with which troubles.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{
    Breaker, BreakerConfig, Copying, Digest, ErrorKind, LayerCache, LayerDescriptor, LayerSource, Limit,
    Metered, ReadOnly, Retry, RetryConfig, SourceOptions, Tier, Timeout, TimeoutConfig,
};
use cache_testkit::sim::{Script, SimOrigin, SimTier, Step, TierKind, Trouble};
use proptest::prelude::*;

/// Names by position: a composition has at most five sources.
const NAMES: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

/// The layers there are.
pub(crate) const LAYERS: [usize; 3] = [0, 1700, 5000];

pub(crate) fn bytes_of(layer: usize) -> Bytes {
    (0..LAYERS[layer])
        .map(|at| (at * 31 % 251) as u8 ^ layer as u8)
        .collect::<Vec<_>>()
        .into()
}

pub(crate) fn digest_of(layer: usize) -> Digest {
    Digest::sha256_of(format!("blob {layer}").as_bytes())
}

pub(crate) fn descriptor_of(layer: usize) -> LayerDescriptor {
    LayerDescriptor::new(digest_of(layer)).with_diff_id(Digest::sha256_of(&bytes_of(layer)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tier(TierKind),
    Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    Timeout,
    Retry,
    Breaker,
    Limit,
    Metered,
    ReadOnly,
}

/// One source of a composition.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    /// From the inside out.
    pub(crate) guards: Vec<Guard>,
    pub(crate) fill: Copying,
    pub(crate) write_back: Copying,
    pub(crate) script: Script,
}

impl Part {
    pub(crate) fn is_read_only(&self) -> bool {
        self.guards.contains(&Guard::ReadOnly)
    }

    /// Whether the cache fills it, when nothing goes wrong.
    pub(crate) fn takes_layers(&self) -> bool {
        self.kind != Kind::Origin && !self.is_read_only() && self.write_back != Copying::Off
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Composition {
    pub(crate) parts: Vec<Part>,
    early_reads: bool,
}

impl Composition {
    pub(crate) fn any_trouble(&self, wanted: impl Fn(&Trouble) -> bool + Copy) -> bool {
        self.parts.iter().any(|part| part.script.any(wanted))
    }

    /// Wrong bytes may be read before they are verified, which is what `early_reads` asks for: tested elsewhere.
    pub(crate) fn early_reads(&self) -> bool {
        self.early_reads && !self.any_trouble(|trouble| matches!(trouble, Trouble::FlipAt(_)))
    }
}

fn copying() -> impl Strategy<Value = Copying> {
    prop_oneof![3 => Just(Copying::Background), 2 => Just(Copying::Inline), 1 => Just(Copying::Off)]
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let offset = 0u64..5000;
    prop_oneof![
        3 => Just(Trouble::Fail(ErrorKind::Unavailable)),
        1 => Just(Trouble::Fail(ErrorKind::Corrupt)),
        1 => Just(Trouble::Fail(ErrorKind::Permanent)),
        1 => Just(Trouble::Fail(ErrorKind::Disputed)),
        2 => Just(Trouble::LoseAnswer),
        1 => Just(Trouble::Stall),
        1 => Just(Trouble::Panic),
        2 => Just(Trouble::Vanish),
        2 => offset.clone().prop_map(Trouble::CutAt),
        2 => offset.prop_map(Trouble::FlipAt),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    let troubles = prop::collection::vec(prop::option::weighted(0.6, trouble()), 1..4);
    let troubles = prop::collection::btree_map(prop::sample::select(&Step::ALL[..]), troubles, 0..4);
    // Half of the sources are faultless.
    let troubles = prop_oneof![Just(Default::default()), troubles];
    let pace = prop::collection::vec(0u16..20, 0..6);
    (troubles, pace).prop_map(|(troubles, pace)| Script { troubles, pace })
}

fn part() -> impl Strategy<Value = Part> {
    let kind = prop_oneof![
        3 => Just(Kind::Tier(TierKind::Local)),
        3 => Just(Kind::Tier(TierKind::Shared)),
        1 => Just(Kind::Tier(TierKind::Unverified)),
        3 => Just(Kind::Origin),
    ];
    let guard = prop_oneof![
        2 => Just(Guard::Timeout),
        2 => Just(Guard::Retry),
        2 => Just(Guard::Breaker),
        2 => Just(Guard::Limit),
        1 => Just(Guard::Metered),
        1 => Just(Guard::ReadOnly),
    ];
    let guards = prop_oneof![Just(Vec::new()), prop::collection::vec(guard, 1..4)];
    (kind, guards, copying(), copying(), script()).prop_map(|(kind, guards, fill, write_back, script)| Part {
        kind,
        guards,
        fill,
        write_back,
        script,
    })
}

pub(crate) fn composition() -> impl Strategy<Value = Composition> {
    (prop::collection::vec(part(), 1..=NAMES.len()), any::<bool>())
        .prop_map(|(parts, early_reads)| Composition { parts, early_reads })
}

/// The sources of a composition, which outlive the caches made of them.
#[derive(Debug)]
pub(crate) enum Source {
    Tier(SimTier),
    Origin(Arc<SimOrigin>),
}

impl Source {
    pub(crate) fn tier(&self) -> Option<&SimTier> {
        match self {
            Self::Tier(tier) => Some(tier),
            Self::Origin(_) => None,
        }
    }

    pub(crate) fn heal(&self) {
        match self {
            Self::Tier(tier) => tier.heal(),
            Self::Origin(origin) => origin.heal(),
        }
    }

    pub(crate) fn holds(&self, layer: usize) -> Option<Bytes> {
        match self {
            Self::Tier(tier) => tier.holds(&digest_of(layer)),
            Self::Origin(_) => Some(bytes_of(layer)),
        }
    }
}

pub(crate) fn sources(composition: &Composition) -> Vec<Source> {
    let source = |(part, name): (&Part, &'static str)| match part.kind {
        Kind::Tier(kind) => Source::Tier(SimTier::new(name, kind, part.script.clone())),
        Kind::Origin => {
            let layers = (0..LAYERS.len()).map(|layer| (digest_of(layer), bytes_of(layer)));
            Source::Origin(Arc::new(SimOrigin::new(name, layers, part.script.clone())))
        }
    };
    composition.parts.iter().zip(NAMES).map(source).collect()
}

/// Longer than any call takes that does not stall.
const PATIENCE: Duration = Duration::from_secs(5);

fn time_outs() -> TimeoutConfig {
    TimeoutConfig {
        operation: PATIENCE,
        idle: PATIENCE,
        commit: PATIENCE,
        create: Some(PATIENCE),
    }
}

fn guarded_source(source: Arc<dyn LayerSource>, guards: &[Guard]) -> Arc<dyn LayerSource> {
    guards.iter().fold(source, |inner, guard| match guard {
        Guard::Timeout => Arc::new(Timeout::new(inner, time_outs())),
        Guard::Retry => Arc::new(Retry::new(inner, RetryConfig::default())),
        Guard::Breaker => Arc::new(Breaker::new(inner, BreakerConfig::default())),
        Guard::Limit => Arc::new(Limit::new(inner, 2)),
        Guard::Metered => Arc::new(Metered::new(inner)),
        // Nothing is written to a source that is no tier.
        Guard::ReadOnly => inner,
    })
}

fn guarded_tier(tier: Arc<dyn Tier>, guards: &[Guard]) -> Arc<dyn Tier> {
    guards.iter().fold(tier, |inner, guard| match guard {
        Guard::Timeout => Arc::new(Timeout::new(inner, time_outs())),
        Guard::Retry => Arc::new(Retry::new(inner, RetryConfig::default())),
        Guard::Breaker => Arc::new(Breaker::new(inner, BreakerConfig::default())),
        Guard::Limit => Arc::new(Limit::new(inner, 2)),
        Guard::Metered => Arc::new(Metered::new(inner)),
        Guard::ReadOnly => Arc::new(ReadOnly::new(inner)),
    })
}

/// A cache of the sources, as a process that starts composes it.
pub(crate) fn cache(composition: &Composition, sources: &[Source]) -> LayerCache {
    let mut builder = LayerCache::builder().early_reads(composition.early_reads());
    for (part, source) in composition.parts.iter().zip(sources) {
        let options = SourceOptions::default()
            .with_fill(part.fill)
            .with_write_back(part.write_back);
        builder = match source {
            Source::Tier(tier) => {
                builder.tier_with(guarded_tier(Arc::new(tier.clone()), &part.guards), options)
            }
            Source::Origin(origin) => {
                builder.source_with(guarded_source(Arc::clone(origin) as _, &part.guards), options)
            }
        };
    }
    builder.build().unwrap()
}

//! Which sources, in which order, behind which guards, with which troubles; and who uses them.

use std::time::Duration;

use bytes::Bytes;
use cache_core::{Copying, Digest, ErrorKind, LayerDescriptor};
use cache_testkit::sim::{Script, Step, TierKind, Trouble};
use proptest::prelude::*;

/// The most sources of a composition, and the most hosts.
pub(crate) const MAX_SOURCES: usize = 5;
pub(crate) const HOSTS: usize = 3;

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
    /// The troubles of its leases, where there are any.
    pub(crate) leases: Option<Script>,
}

impl Part {
    /// One that nothing goes wrong with.
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            guards: Vec::new(),
            fill: Copying::Inline,
            write_back: Copying::Background,
            script: Script::default(),
            leases: None,
        }
    }

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
    pub(crate) early_reads: bool,
    /// The host of each process.
    pub(crate) hosts: Vec<usize>,
    /// The positions of the parts in another order, in which the layers are read in the end.
    pub(crate) order: Vec<usize>,
}

impl Composition {
    /// One process that uses these parts.
    pub(crate) fn new(parts: Vec<Part>) -> Self {
        let order = (0..parts.len()).rev().collect();
        Self {
            parts,
            early_reads: false,
            hosts: vec![0],
            order,
        }
    }

    pub(crate) fn any_trouble(&self, wanted: impl Fn(&Trouble) -> bool + Copy) -> bool {
        self.parts.iter().any(|part| part.script.any(wanted))
    }

    /// How long all troubles together keep whoever waits for them.
    pub(crate) fn slowness(&self) -> Duration {
        let scripts = |part: &Part| {
            let leases = part.leases.as_ref().map_or(Duration::ZERO, Script::duration);
            part.script.duration() + leases
        };
        self.parts.iter().map(scripts).sum()
    }

    /// Wrong bytes may be read before they are verified, which is what `early_reads` asks for: tested elsewhere.
    pub(crate) fn early_reads(&self) -> bool {
        self.early_reads && !self.any_trouble(|trouble| matches!(trouble, Trouble::FlipAt(_)))
    }
}

fn copying() -> impl Strategy<Value = Copying> {
    prop_oneof![3 => Just(Copying::Background), 2 => Just(Copying::Inline), 1 => Just(Copying::Off)]
}

/// What may go wrong in a call of this step.
fn trouble(step: Step) -> BoxedStrategy<Trouble> {
    let offset = 0u64..5000;
    let fail = prop_oneof![
        3 => Just(ErrorKind::Unavailable),
        1 => Just(ErrorKind::Corrupt),
        1 => Just(ErrorKind::Permanent),
        1 => Just(ErrorKind::Disputed),
    ];
    let any = prop_oneof![
        6 => fail.prop_map(Trouble::Fail),
        2 => Just(Trouble::LoseAnswer),
        1 => Just(Trouble::Stall),
        1 => (1u8..9).prop_map(Trouble::Delay),
        1 => Just(Trouble::Panic),
    ];
    match step {
        Step::Open => prop_oneof![5 => any, 1 => Just(Trouble::Vanish)].boxed(),
        Step::Read | Step::Stream => prop_oneof![
            5 => any,
            1 => Just(Trouble::Vanish),
            2 => offset.clone().prop_map(Trouble::CutAt),
            2 => offset.prop_map(Trouble::FlipAt),
        ]
        .boxed(),
        Step::Create => prop_oneof![4 => any, 1 => offset.prop_map(Trouble::FullAt)].boxed(),
        Step::Commit => prop_oneof![4 => any, 1 => Just(Trouble::Unsynced)].boxed(),
        Step::Write | Step::Remove => any.boxed(),
        Step::Acquire | Step::Renew | Step::Release => prop_oneof![
            3 => Just(Trouble::Fail(ErrorKind::Unavailable)),
            1 => Just(Trouble::Fail(ErrorKind::Permanent)),
            2 => Just(Trouble::LoseAnswer),
            1 => Just(Trouble::Stall),
            // About as long as a lease lasts.
            2 => (1u8..6).prop_map(Trouble::Delay),
            2 => Just(Trouble::Vanish),
        ]
        .boxed(),
    }
}

fn script(steps: &'static [Step]) -> impl Strategy<Value = Script> {
    let troubles = prop::sample::select(steps).prop_flat_map(|step| {
        let troubles = prop::collection::vec(prop::option::weighted(0.6, trouble(step)), 1..4);
        (Just(step), troubles)
    });
    let troubles = prop::collection::vec(troubles, 0..4).prop_map(|troubles| troubles.into_iter().collect());
    // Half of all are faultless.
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
    let leases = prop::option::of(script(&Step::OF_LEASES));
    let script = script(&Step::OF_SOURCES);
    (kind, guards, copying(), copying(), script, leases).prop_map(
        |(kind, guards, fill, write_back, script, leases)| Part {
            kind,
            guards,
            fill,
            write_back,
            script,
            // What each host has for itself has no leases.
            leases: leases.filter(|_| !matches!(kind, Kind::Origin | Kind::Tier(TierKind::Local))),
        },
    )
}

/// What workers are made of most often: a local tier, a shared one with leases, and an origin.
fn usual() -> impl Strategy<Value = Vec<Part>> {
    let kinds = [
        Kind::Tier(TierKind::Local),
        Kind::Tier(TierKind::Shared),
        Kind::Origin,
    ];
    let scripts = kinds.map(|_| script(&Step::OF_SOURCES));
    // Longer than a lease lasts.
    let slow = prop::option::of((4u8..9).prop_map(Trouble::Delay));
    (scripts, script(&Step::OF_LEASES), slow).prop_map(move |(scripts, leases, slow)| {
        let parts = kinds.into_iter().zip(scripts);
        let mut parts: Vec<_> = parts
            .map(|(kind, script)| Part {
                script,
                ..Part::new(kind)
            })
            .collect();
        parts[1].leases = Some(leases);
        if slow.is_some() {
            parts[2].script.troubles.insert(Step::Stream, vec![slow]);
        }
        parts
    })
}

pub(crate) fn composition() -> impl Strategy<Value = Composition> {
    let parts = prop_oneof![
        3 => prop::collection::vec(part(), 1..=MAX_SOURCES),
        1 => usual(),
    ];
    let hosts = prop::collection::vec(0..HOSTS, 1..=3);
    (parts, any::<bool>(), hosts).prop_flat_map(|(parts, early_reads, hosts)| {
        let order = Just((0..parts.len()).collect::<Vec<_>>()).prop_shuffle();
        let fixed = (Just(parts), Just(early_reads), Just(hosts));
        (fixed, order).prop_map(|((parts, early_reads, hosts), order)| Composition {
            parts,
            early_reads,
            hosts,
            order,
        })
    })
}

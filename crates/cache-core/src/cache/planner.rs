//! The rules by which a layer is searched and copied, without doing any of it.
//!
//! A fill asks them step by step, and [`LayerCache::plan`](super::LayerCache::plan) asks them all beforehand: both do the
//! same because there is one set of rules.

use super::options::{Copying, SourceOptions};
use super::source_set::SourceSet;
use crate::{Capabilities, ErrorKind, LayerSource, Role};

/// What the decisions about one source depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    role: Role,
    can: Capabilities,
    is_tier: bool,
    fill: Copying,
    write_back: Copying,
    has_leases: bool,
}

/// What the error of a source that was asked for a layer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The image is refused: no other source is asked.
    EndSearch,
    /// Source and image contradict each other. Either may be wrong, until a copy from another source shows it.
    Suspect,
    /// The layer there is wrong and has to be removed. The tier can be filled afresh then.
    Remove,
    /// The next source is asked.
    PassOver,
}

impl Rules {
    pub(super) fn new(source: &dyn LayerSource, is_tier: bool, options: &SourceOptions) -> Self {
        Self {
            role: source.role(),
            can: source.capabilities(),
            is_tier,
            fill: options.fill,
            write_back: options.write_back,
            has_leases: options.leases.is_some(),
        }
    }

    /// Whether asking for a layer here begins to fetch it.
    pub(super) fn is_origin(self) -> bool {
        self.role == Role::Origin
    }

    /// Whether what is found here gets into the tiers in front.
    pub(super) fn is_copied(self) -> bool {
        self.fill != Copying::Off
    }

    /// Whether it takes layers that were found behind it, by the cache's own decision.
    pub(super) fn takes_layers(self) -> bool {
        self.is_tier && self.write_back != Copying::Off
    }

    /// When it gets a copy of a layer that is already at hand in a nearer tier.
    pub(super) fn write_back(self) -> Copying {
        self.write_back
    }

    /// Whether it is filled on the way, while it is read.
    fn fills_on_the_way(self) -> bool {
        self.takes_layers() && self.can.read_while_write
    }

    /// Whether a layer can be read here in parts, each of which is right if it comes, by a reader with or without
    /// `random_access`.
    pub(super) fn reads_ranges(self, random_access: bool) -> bool {
        random_access && self.can.verified
    }

    /// Whether readers are served from here while a tier in front is being filled.
    pub(super) fn serves_at_once(self, random_access: bool) -> bool {
        self.reads_ranges(random_access) && self.fill != Copying::Inline
    }

    /// Whether asking costs little, so that no tier needs to be claimed before. There is no reader yet, so the role
    /// decides: to ask an origin is to begin to fetch, whatever its reader can do then.
    pub(super) fn is_cheap_to_ask(self) -> bool {
        self.serves_at_once(!self.is_origin())
    }

    /// Judges an error that asking this source has led to.
    pub(super) fn judge(self, kind: ErrorKind) -> Verdict {
        match kind {
            ErrorKind::Invalid => Verdict::EndSearch,
            ErrorKind::Disputed => Verdict::Suspect,
            ErrorKind::Corrupt if self.is_tier => Verdict::Remove,
            _ => Verdict::PassOver,
        }
    }
}

/// The tiers that lack a layer, and what follows from that.
#[derive(Debug, Default)]
pub(super) struct Planner {
    /// Not filled, whatever they lack.
    except: SourceSet,
    /// Tiers to be filled from behind, from the nearest to the farthest.
    lacking: Vec<(usize, Rules)>,
    /// Tiers that contradict the image. If a first copy shows that they are wrong, they get one too.
    disputed: Vec<(usize, Rules)>,
    /// The tier at which the layer is leased.
    lease_at: Option<usize>,
}

/// The copies of a layer that are planned once it is found.
#[derive(Debug)]
pub(super) struct Copies {
    /// Each tier, the nearest first, and whether readers wait for its copy.
    pub(super) planned: Vec<(usize, Copying)>,
    /// Whether the layer is read from the first copy, and not before it is complete.
    pub(super) read_from: bool,
}

impl Planner {
    pub(super) fn new(except: SourceSet) -> Self {
        Self {
            except,
            ..Self::default()
        }
    }

    /// Notes that `source` lacks the layer.
    pub(super) fn lacks(&mut self, source: usize, rules: Rules) {
        if !rules.takes_layers() {
            return;
        }
        if rules.has_leases {
            self.lease_at.get_or_insert(source);
        }
        if !self.except.contains(source) {
            self.lacking.push((source, rules));
        }
    }

    /// Notes that `source` has the layer, and says that it is not what the image claims.
    pub(super) fn disputes(&mut self, source: usize, rules: Rules) {
        if rules.takes_layers() {
            self.disputed.push((source, rules));
        }
    }

    /// The tier whose lease on the layer is taken before a source with these `rules` is asked.
    pub(super) fn lease_before(&self, rules: Rules) -> Option<usize> {
        self.lease_at.filter(|_| rules.is_origin() && rules.is_copied())
    }

    /// The position in `lacking` of the tier that is filled next from a source that does or does not read ranges. The
    /// nearest that can be read while it is written comes first. Without one, a source that reads ranges is read where it
    /// is, and any other is read once, so that any tier will do.
    fn next_to_fill(&self, reads_ranges: bool) -> Option<usize> {
        let on_the_way = |(_, rules): &(usize, Rules)| rules.fills_on_the_way();
        let next = self.lacking.iter().position(on_the_way);
        next.or((!reads_ranges && !self.lacking.is_empty()).then_some(0))
    }

    /// Takes out the tier that is filled next.
    pub(super) fn take_next_to_fill(&mut self, reads_ranges: bool) -> Option<usize> {
        let next = self.next_to_fill(reads_ranges)?;
        Some(self.lacking.remove(next).0)
    }

    /// Whether there is a tier to be filled while the layer is read.
    pub(super) fn fills_on_the_way(&self) -> bool {
        self.next_to_fill(true).is_some()
    }

    /// Notes that the layer is at `source`: tiers behind that are not filled.
    pub(super) fn keep_in_front_of(&mut self, source: usize) {
        self.lacking.retain(|&(lacking, _)| lacking < source);
    }

    /// The tiers that are left to be filled.
    pub(super) fn left(self) -> Vec<usize> {
        self.lacking.into_iter().map(|(source, _)| source).collect()
    }

    /// Plans the copies of a layer that was found at a source with the rules `hit`, and is read there with or without
    /// `random_access`.
    pub(super) fn copies(&self, hit: Rules, random_access: bool) -> Copies {
        let mut copies = Copies {
            planned: Vec::new(),
            read_from: false,
        };
        if !hit.is_copied() {
            return copies;
        }
        let next = self.next_to_fill(hit.reads_ranges(random_access));
        let first = next.map(|position| self.lacking[position].0);
        let at_once = hit.serves_at_once(random_access) && self.fills_on_the_way();
        copies.read_from = first.is_some() && !at_once;
        let when = |source, rules: Rules| match first {
            _ if at_once => Copying::Background,
            Some(first) if first == source => Copying::Inline,
            _ => rules.write_back(),
        };
        let settled = self.disputed.iter().filter(|_| first.is_some());
        let filled = self.lacking.iter().chain(settled);
        copies.planned = filled
            .map(|&(source, rules)| (source, when(source, rules)))
            .collect();
        copies.planned.sort_by_key(|&(source, _)| source);
        copies
    }
}

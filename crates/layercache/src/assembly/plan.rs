//! What opening a layer does, once it is known where the layer is: the cache's own rules, told beforehand.

use std::num::NonZeroU64;

use cache_core::{Capabilities, Copying, ErrorKind, Role};

use super::Part;
use super::explain::{Asked, Finding};

/// What opening a layer does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The name of the source that serves it.
    pub source: String,
    /// Length of the layer in bytes, where it is known before the layer is inflated.
    pub len: Option<u64>,
    /// How it is read.
    pub reading: Reading,
    /// The copies that are made, the nearest first. A tier may still refuse one: the layer is too long for it, or it has no room. A tier
    /// that [disputes](ErrorKind::Disputed) what the image claims is among them where the first copy shows who is right: if it is the
    /// image, what the tier has is removed, and the copy made; else the image fails.
    pub copies: Vec<PlannedCopy>,
    /// The name of the tier whose lease on the layer is taken first, or waited for while another worker has it.
    pub lease: Option<String>,
}

/// How a layer is read until the copies of it are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Where it is. Any part of a unit of this many bytes moves all of the unit.
    InPlace(NonZeroU64),
    /// Once all of it was copied, from the first copy.
    Copied,
    /// The whole blob is fetched and inflated: once where it is copied, and otherwise for each read.
    Inflated,
}

/// A tier that gets a copy of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedCopy {
    /// The tier's name.
    pub tier: String,
    /// Whether readers wait for it.
    pub when: Copying,
}

/// One source, as the cache sees it.
struct Place<'a> {
    part: &'a Part,
    can: Capabilities,
    /// Whether it has the layer, and says that it is not what the image claims.
    disputes: bool,
}

impl<'a> Place<'a> {
    fn of(part: &'a Part, finding: &Finding) -> Self {
        let can = part.capabilities();
        let disputes = matches!(finding, Finding::Failed(error) if error.kind() == ErrorKind::Disputed);
        Self { part, can, disputes }
    }

    /// Whether it can be filled first: what it has is not removed before the dispute is settled.
    fn is_filled_first(&self) -> bool {
        self.part.takes_layers() && !self.disputes
    }

    fn fills_on_the_way(&self) -> bool {
        self.is_filled_first() && self.can.read_while_write
    }

    fn is_origin(&self) -> bool {
        self.part.role() == Role::Origin
    }

    fn reads_ranges(&self) -> bool {
        !self.is_origin() && self.can.verified
    }

    fn serves_at_once(&self) -> bool {
        self.reads_ranges() && self.part.options().fill != Copying::Inline
    }

    fn is_copied(&self) -> bool {
        self.part.options().fill != Copying::Off
    }

    /// Whether it lacks the layer, or is about to: what is wrong there is removed.
    fn will_lack(&self, finding: &Finding) -> bool {
        match finding {
            Finding::Absent => true,
            Finding::Failed(error) => {
                let is_wrong = error.kind() == ErrorKind::Corrupt || self.disputes;
                is_wrong && self.part.is_tier()
            }
            _ => false,
        }
    }
}

impl Plan {
    /// `None` when the last of those that were `asked` does not serve the layer. A layer that is there has `len` bytes.
    pub(super) fn new(parts: &[&Part], asked: &[Asked], len: Option<u64>) -> Option<Self> {
        let (last, before) = asked.split_last()?;
        if !last.finding.serves() {
            return None;
        }
        let hit = Place::of(parts[before.len()], &last.finding);
        let lacking: Vec<_> = before
            .iter()
            .zip(parts)
            .map(|(asked, part)| (Place::of(part, &asked.finding), &asked.finding))
            .filter(|(place, finding)| place.part.takes_layers() && place.will_lack(finding))
            .map(|(place, _)| place)
            .collect();
        let copies = copies(&hit, &lacking);
        let leases = |place: &&Place<'_>| place.is_filled_first() && place.part.options().leases.is_some();
        let is_leased = hit.is_origin() && hit.is_copied();
        let lease = lacking.iter().find(leases).filter(|_| is_leased);
        Some(Self {
            source: last.name.clone(),
            len,
            reading: match hit.is_origin() {
                true => Reading::Inflated,
                false if copies.read_from => Reading::Copied,
                false => Reading::InPlace(hit.part.read_unit()),
            },
            copies: copies.planned,
            lease: lease.map(|place| place.part.name().to_owned()),
        })
    }
}

struct Copies {
    planned: Vec<PlannedCopy>,
    /// Whether the layer is read from one of them, and not before it is there.
    read_from: bool,
}

fn copies(hit: &Place<'_>, lacking: &[Place<'_>]) -> Copies {
    let on_the_way = lacking.iter().position(Place::fills_on_the_way);
    // A source that serves ranges is read where it is; any other is read once, into whatever tier takes it.
    let first = on_the_way.or_else(|| match hit.reads_ranges() {
        true => None,
        false => lacking.iter().position(Place::is_filled_first),
    });
    let at_once = hit.serves_at_once() && on_the_way.is_some();
    let copy = |(position, place): (usize, &Place<'_>)| PlannedCopy {
        tier: place.part.name().to_owned(),
        when: match first {
            Some(first) if first == position && at_once => Copying::Background,
            Some(first) if first == position => Copying::Inline,
            // The first is made before, which is more than readers wait for.
            _ if at_once => Copying::Background,
            _ => place.part.options().write_back,
        },
    };
    let is_copied = hit.is_copied();
    let planned: Vec<_> = lacking
        .iter()
        .enumerate()
        .filter(|(_, place)| is_copied && (first.is_some() || !place.disputes))
        .map(copy)
        .collect();
    Copies {
        planned,
        read_from: is_copied && first.is_some() && !at_once,
    }
}

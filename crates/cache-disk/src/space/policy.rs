//! The order in which layers are evicted: a pure function of what the file system knows of them.
//!
//! The least recently used goes first, in four groups one after the other:
//!
//! 1. layers on *probation*: filled, and not opened again since, or only while they were new;
//! 2. layers in *use*: opened again a good while after their fill;
//! 3. layers that are *open*: readers go on with an evicted one, so its bytes would stay on the
//!    disk and leave the quota;
//! 4. layers that are *pinned*.
//!
//! A program that reads everything once - a scanner, a mirror, a batch of builds - fills any number
//! of layers, all of them on probation, and evicts no layer in use for them. But popularity
//! changes, and a layer that was in use last week must not outlive those of today for ever. So only
//! the most recently used of the layers in use count as such, up to [`IN_USE_SHARE`] of all bytes.
//! `cargo run -p cache-disk --example eviction` compares this with the plain order of last use.

use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

/// How long a layer is new. A program that fills one opens it a few times more before it goes on to
/// the next: that does not say whether it will ever come back.
pub(crate) const NEW_FOR: Duration = Duration::from_secs(3600);

/// The part of all bytes that layers in use may have, as a fraction.
const IN_USE_SHARE: (u64, u64) = (3, 5);

/// The facts about a layer that decide its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Bytes of the layer and its companions.
    pub(crate) bytes: u64,
    /// Time of its last open, to the minute.
    pub(crate) used: SystemTime,
    /// Time of its fill, which is that of its index; `None` when the index is lost.
    pub(crate) filled: Option<SystemTime>,
    /// Set if some process has it open.
    pub(crate) open: bool,
    /// Set if a pinned image has it.
    pub(crate) pinned: bool,
}

/// The group that a layer is evicted with, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Standing {
    /// Not opened again since it was filled and new, or not for long.
    Probation,
    /// Opened again when it was no longer new.
    InUse,
    /// Some process has it open.
    Open,
    /// An image that is pinned has it.
    Pinned,
}

impl Facts {
    fn was_used_again(&self) -> bool {
        let since = |filled| self.used.duration_since(filled).unwrap_or_default();
        self.filled.is_some_and(|filled| since(filled) >= NEW_FOR)
    }
}

/// Orders layers as they are evicted. Among layers that were last used at the same time the one
/// with the lesser key goes first.
pub(crate) fn order<K: Ord>(layers: impl IntoIterator<Item = (K, Facts)>) -> Vec<(K, Facts, Standing)> {
    let mut layers: Vec<_> = layers.into_iter().collect();
    layers.sort_unstable_by(|(a, one), (b, other)| (Reverse(one.used), b).cmp(&(Reverse(other.used), a)));
    let bytes: u64 = layers.iter().map(|(_, facts)| facts.bytes).sum();
    let mut room = bytes / IN_USE_SHARE.1 * IN_USE_SHARE.0;
    let mut standing = |facts: &Facts| {
        if facts.pinned {
            return Standing::Pinned;
        }
        if facts.open {
            return Standing::Open;
        }
        match room.checked_sub(facts.bytes) {
            Some(rest) if facts.was_used_again() => {
                room = rest;
                Standing::InUse
            }
            _ => Standing::Probation,
        }
    };
    let mut order: Vec<_> = layers
        .into_iter()
        .map(|(key, facts)| (standing(&facts), key, facts))
        .collect();
    order.reverse();
    // Stable: within a group the order of last use stays.
    order.sort_by_key(|(standing, ..)| *standing);
    order
        .into_iter()
        .map(|(standing, key, facts)| (key, facts, standing))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{InUse, Open, Pinned, Probation};

    const HOUR: u64 = 3600;

    fn at(hour: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(hour * HOUR)
    }

    /// A layer of 10 bytes that was filled and last used at these hours.
    fn layer(filled: u64, used: u64) -> Facts {
        Facts {
            bytes: 10,
            used: at(used),
            filled: Some(at(filled)),
            open: false,
            pinned: false,
        }
    }

    fn ordered(layers: &[Facts]) -> Vec<(usize, Standing)> {
        let ordered = order(layers.iter().copied().enumerate());
        ordered
            .into_iter()
            .map(|(key, facts, standing)| {
                assert_eq!(facts, layers[key]);
                (key, standing)
            })
            .collect()
    }

    #[test]
    fn what_was_filled_alone_goes_by_its_age_and_then_by_its_key() {
        let layers = [layer(3, 3), layer(1, 1), layer(2, 2), layer(1, 1)];
        let expected = [(1, Probation), (3, Probation), (2, Probation), (0, Probation)];
        assert_eq!(ordered(&layers), expected);
    }

    #[test]
    fn each_group_goes_after_the_one_before_whatever_was_used_last() {
        let pinned = Facts {
            pinned: true,
            open: true,
            ..layer(0, 0)
        };
        let open = Facts {
            open: true,
            ..layer(0, 1)
        };
        let layers = [pinned, open, layer(0, 2), layer(9, 9), layer(8, 8)];
        let expected = [(4, Probation), (3, Probation), (2, InUse), (1, Open), (0, Pinned)];
        assert_eq!(ordered(&layers), expected);
    }

    #[test]
    fn to_be_in_use_is_to_be_opened_again_when_no_longer_new() {
        let used_after = |after: Duration| Facts {
            used: at(1) + after,
            ..layer(1, 1)
        };
        let lost_its_index = Facts {
            filled: None,
            ..layer(1, 9)
        };
        // Files that were copied, or a clock that was set back.
        let from_the_future = layer(9, 1);
        let almost = used_after(NEW_FOR - Duration::from_nanos(1));
        let layers = [almost, used_after(NEW_FOR), lost_its_index, from_the_future];
        let standings: Vec<_> = ordered(&layers)
            .into_iter()
            .filter(|(_, standing)| *standing != Probation)
            .collect();
        assert_eq!(standings, [(1, InUse)]);
    }

    #[test]
    fn of_the_layers_in_use_the_most_recently_used_alone_outlive_new_ones() {
        // All of ten were used again; room is for six of them.
        let mut layers: Vec<_> = (0..10).map(|n| layer(0, 10 + n)).collect();
        let standings = ordered(&layers);
        assert_eq!(
            standings[..4],
            [(0, Probation), (1, Probation), (2, Probation), (3, Probation)]
        );
        assert!(standings[4..].iter().all(|(_, standing)| *standing == InUse));
        // One that takes all the room leaves it to those that fit.
        layers[9].bytes = 1000;
        let standings = ordered(&layers);
        assert_eq!(
            standings
                .iter()
                .filter(|(_, standing)| *standing == InUse)
                .count(),
            9
        );
        assert!(standings.contains(&(9, Probation)));
    }

    #[test]
    fn nothing_has_an_order() {
        assert!(ordered(&[]).is_empty());
    }
}

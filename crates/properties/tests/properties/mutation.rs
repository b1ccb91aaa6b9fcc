//! Small changes to right input: what gets past the first check of a reader.

use proptest::prelude::*;
use proptest::sample::Index;

use crate::seeds;

/// One change, at a place in the input and with bytes of any of its seeds.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// Repeats what stands at the first place at the second.
    Copy(Index, Index, usize),
    Truncate(Index),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        let run = |at: &Index, run: usize| at.index(len)..(at.index(len) + run).min(len);
        match self {
            Self::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Self::Set(at, byte) => bytes[at.index(len)] = *byte,
            Self::Insert(at, new) => drop(bytes.splice(at.index(len)..at.index(len), new.clone())),
            Self::Remove(at, removed) => drop(bytes.drain(run(at, *removed))),
            Self::Copy(from, to, copied) => {
                let copy = bytes[run(from, *copied)].to_vec();
                drop(bytes.splice(to.index(len)..to.index(len), copy));
            }
            Self::Truncate(at) => bytes.truncate(at.index(len)),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), 0u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        4 => (at(), prop::sample::select(b"\0\x01\x7f\x80\xff 09aAz\"'\\/.:@#,[]{}\n-_*".to_vec()))
            .prop_map(|(at, byte)| Change::Set(at, byte)),
        2 => (at(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, new)| Change::Insert(at, new)),
        2 => (at(), 1usize..40).prop_map(|(at, removed)| Change::Remove(at, removed)),
        1 => (at(), at(), 1usize..600).prop_map(|(from, to, copied)| Change::Copy(from, to, copied)),
        1 => at().prop_map(Change::Truncate),
    ]
}

/// `bytes` with up to five changes.
pub(crate) fn changed(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (bytes, prop::collection::vec(change(), 0..5)).prop_map(|(mut bytes, changes)| {
        changes.iter().for_each(|change| change.apply(&mut bytes));
        bytes
    })
}

/// The seeds of a target, changed.
pub(crate) fn seeds_changed(target: &str) -> impl Strategy<Value = Vec<u8>> {
    let seeds: Vec<_> = seeds::of(target).into_iter().map(|(_, seed)| seed).collect();
    changed(prop::sample::select(seeds))
}

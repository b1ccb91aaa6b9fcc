//! What is done with a composition.

use proptest::prelude::*;

use crate::composition::{Composition, LAYERS};

/// What one reader does, or somebody who is there at the same time.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Opens a layer and reads some of it.
    Read { layer: usize, offset: u64, len: usize },
    /// Opens a layer and streams it from an offset, this many pieces of it or all.
    Stream {
        layer: usize,
        offset: u64,
        pieces: Option<usize>,
    },
    /// Opens a layer, and reads all of it after a while: much may have happened since.
    ReadLater { layer: usize, seconds: u64 },
    /// Opens a layer, and waits until no fill of it is under way.
    Settle { layer: usize },
    /// Copies a layer to the shared tiers.
    Publish { layer: usize },
    /// Removes a layer from a tier, if the source at this position is one.
    Remove { source: usize, layer: usize },
    /// The process is killed, and another one starts on its host.
    Restart,
}

/// A reader among others.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    /// The process it is in.
    pub(crate) process: usize,
    /// When it begins, in milliseconds.
    pub(crate) start: u64,
    /// When it goes away, in milliseconds after it has begun, whatever it was doing.
    pub(crate) gone: Option<u64>,
    pub(crate) action: Action,
}

impl Reader {
    /// One that begins at once, and stays.
    pub(crate) fn new(process: usize, action: Action) -> Self {
        Self {
            process,
            start: 0,
            gone: None,
            action,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Readers at once.
    Readers(Vec<Reader>),
    /// Somebody else puts a layer into a tier that the process sees, if the source at this position is one.
    Put {
        process: usize,
        source: usize,
        layer: usize,
    },
    /// Somebody else takes it away.
    Evict {
        process: usize,
        source: usize,
        layer: usize,
    },
    /// Time passes, in seconds.
    Wait(u64),
    /// Waits until all processes are at rest.
    Flush,
    /// All processes end without warning, and all hosts go down. All start again.
    Blackout,
    /// Nothing goes wrong with this source any more.
    Heal { source: usize },
}

fn action(sources: usize) -> impl Strategy<Value = Action> {
    let layer = 0..LAYERS.len();
    prop_oneof![
        8 => (layer.clone(), 0u64..5100, 0usize..3000)
            .prop_map(|(layer, offset, len)| Action::Read { layer, offset, len }),
        6 => (layer.clone(), prop_oneof![Just(0), 0u64..5100], prop::option::weighted(0.3, 0usize..6))
            .prop_map(|(layer, offset, pieces)| Action::Stream { layer, offset, pieces }),
        4 => (layer.clone(), 0u64..40).prop_map(|(layer, seconds)| Action::ReadLater { layer, seconds }),
        1 => layer.clone().prop_map(|layer| Action::Settle { layer }),
        2 => layer.clone().prop_map(|layer| Action::Publish { layer }),
        1 => (0..sources, layer).prop_map(|(source, layer)| Action::Remove { source, layer }),
        1 => Just(Action::Restart),
    ]
}

fn reader(processes: usize, sources: usize) -> impl Strategy<Value = Reader> {
    let gone = prop::option::weighted(0.2, 0u64..60);
    (0..processes, 0u64..30, gone, action(sources)).prop_map(|(process, start, gone, action)| Reader {
        process,
        start,
        gone,
        action,
    })
}

pub(crate) fn operation(composition: &Composition) -> impl Strategy<Value = Operation> + use<> {
    let (processes, sources) = (composition.hosts.len(), composition.parts.len());
    let place = (0..processes, 0..sources, 0..LAYERS.len());
    prop_oneof![
        10 => prop::collection::vec(reader(processes, sources), 1..5 + processes)
            .prop_map(Operation::Readers),
        2 => place.clone().prop_map(|(process, source, layer)| Operation::Put { process, source, layer }),
        2 => place.prop_map(|(process, source, layer)| Operation::Evict { process, source, layer }),
        1 => (0u64..200).prop_map(Operation::Wait),
        2 => Just(Operation::Flush),
        1 => Just(Operation::Blackout),
        1 => (0..sources).prop_map(|source| Operation::Heal { source }),
    ]
}

//! What is done with a composition.

use proptest::prelude::*;

use crate::composition::LAYERS;

/// What one reader does.
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
    /// Copies a layer to the shared tiers.
    Publish { layer: usize },
}

impl Action {
    pub(crate) fn layer(&self) -> usize {
        match self {
            Self::Read { layer, .. }
            | Self::Stream { layer, .. }
            | Self::ReadLater { layer, .. }
            | Self::Publish { layer } => *layer,
        }
    }
}

/// A reader among others.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    /// When it begins, in milliseconds.
    pub(crate) start: u64,
    /// When it goes away, in milliseconds after it has begun, whatever it was doing.
    pub(crate) gone: Option<u64>,
    pub(crate) action: Action,
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Readers at once.
    Readers(Vec<Reader>),
    /// Somebody else puts a layer into a tier, if the source at this position is one.
    Put { source: usize, layer: usize },
    /// Somebody else takes it away.
    Evict { source: usize, layer: usize },
    /// Time passes, in seconds.
    Wait(u64),
    /// Waits until the cache is at rest.
    Flush,
    /// The process ends without warning, and another one starts.
    Restart,
    /// Nothing goes wrong with this source any more.
    Heal { source: usize },
}

fn action() -> impl Strategy<Value = Action> {
    let layer = 0..LAYERS.len();
    prop_oneof![
        4 => (layer.clone(), 0u64..5100, 0usize..3000)
            .prop_map(|(layer, offset, len)| Action::Read { layer, offset, len }),
        3 => (layer.clone(), prop_oneof![Just(0), 0u64..5100], prop::option::weighted(0.3, 0usize..6))
            .prop_map(|(layer, offset, pieces)| Action::Stream { layer, offset, pieces }),
        2 => (layer.clone(), 0u64..40).prop_map(|(layer, seconds)| Action::ReadLater { layer, seconds }),
        1 => layer.prop_map(|layer| Action::Publish { layer }),
    ]
}

fn reader() -> impl Strategy<Value = Reader> {
    (0u64..30, prop::option::weighted(0.2, 0u64..60), action()).prop_map(|(start, gone, action)| Reader {
        start,
        gone,
        action,
    })
}

pub(crate) fn operation(sources: usize) -> impl Strategy<Value = Operation> {
    let (source, layer) = (0..sources, 0..LAYERS.len());
    prop_oneof![
        8 => prop::collection::vec(reader(), 1..5).prop_map(Operation::Readers),
        2 => (source.clone(), layer.clone()).prop_map(|(source, layer)| Operation::Put { source, layer }),
        2 => (source.clone(), layer).prop_map(|(source, layer)| Operation::Evict { source, layer }),
        1 => (0u64..200).prop_map(Operation::Wait),
        2 => Just(Operation::Flush),
        1 => Just(Operation::Restart),
        1 => source.prop_map(|source| Operation::Heal { source }),
    ]
}

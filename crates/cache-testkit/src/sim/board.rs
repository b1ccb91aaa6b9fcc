//! The leases that a simulated tier has given.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::Digest;
use cache_core::lease::LeaseHolder;
use tokio::time::Instant;

use super::ledger::Ledger;
use super::script::{Play, Script};

/// All leases of a tier. Those of processes that were killed end by themselves, as do those whose answer was lost.
#[derive(Debug)]
pub(super) struct Board {
    state: Mutex<State>,
    pub(super) in_hands: Arc<Ledger>,
    pub(super) play: Play,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) last: u64,
    /// Until when it is so.
    pub(super) leases: HashMap<Digest, (Stand, Instant)>,
    /// Were given back as free while the tier lacked the layer and had never lost it.
    pub(super) freed_unpublished: Vec<Digest>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Stand {
    Held(LeaseHolder),
    GivenUp,
}

impl Board {
    pub(super) fn new(script: Script) -> Self {
        Self {
            state: Mutex::default(),
            in_hands: Arc::default(),
            play: Play::new(script),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All leases end.
    pub(super) fn forget(&self) {
        let mut state = self.lock();
        state.leases.clear();
        state.freed_unpublished.clear();
    }
}

impl State {
    /// What stands now.
    pub(super) fn stand(&mut self, layer: &Digest) -> Option<Stand> {
        self.leases.retain(|_, (_, until)| *until > Instant::now());
        self.leases.get(layer).map(|(stand, _)| *stand)
    }

    pub(super) fn holds(&mut self, layer: &Digest, token: u64) -> bool {
        matches!(self.stand(layer), Some(Stand::Held(holder)) if holder.token == token)
    }
}

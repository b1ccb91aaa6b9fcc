//! The leases of a simulated tier.

use std::time::Duration;

use async_trait::async_trait;
use cache_core::lease::{Acquired, Lease, LeaseHolder, Leases, Release};
use cache_core::{Digest, Error, Result};
use tokio::time::Instant;

use super::board::Stand;
use super::ledger::Entered;
use super::script::{Step, Trouble, answer};
use super::tier::SimTier;

/// How long others are told that a lease was given up.
const GIVEN_UP_FOR: Duration = Duration::from_secs(10);

impl SimTier {
    /// How many leases are neither given back nor dropped.
    pub fn leases_in_hands(&self) -> usize {
        self.inner.board.in_hands.count(|_, _| true)
    }

    /// The layers whose lease was given back as free while the tier lacked the layer, although it had never lost it.
    pub fn freed_unpublished(&self) -> Vec<Digest> {
        self.inner.board.lock().freed_unpublished.clone()
    }

    /// Gives back a lease, if it is still held.
    fn end_lease(&self, layer: &Digest, token: u64, release: Release) {
        let published = self.holds(layer).is_some() || self.has_lost(layer);
        let mut state = self.inner.board.lock();
        if !state.holds(layer, token) {
            return;
        }
        match release {
            Release::Free => {
                state.leases.remove(layer);
                if !published {
                    state.freed_unpublished.push(*layer);
                }
            }
            Release::GiveUp => {
                let until = Instant::now() + GIVEN_UP_FOR;
                state.leases.insert(*layer, (Stand::GivenUp, until));
            }
        }
    }
}

#[async_trait]
impl Leases for SimTier {
    async fn acquire(&self, layer: &Digest) -> Result<Acquired> {
        let place = self.place("lease", layer);
        let board = &self.inner.board;
        let called = board.play.call(Step::Acquire, &self.process).await;
        let trouble = called.map_err(&place)?;
        let mut state = board.lock();
        if trouble == Some(Trouble::Vanish) {
            state.leases.remove(layer);
        }
        let acquired = match state.stand(layer) {
            Some(Stand::GivenUp) => Acquired::GivenUp,
            Some(Stand::Held(holder)) => Acquired::Busy(holder),
            None => {
                state.last += 1;
                let token = state.last;
                let held = Stand::Held(LeaseHolder { token, progress: 0 });
                state
                    .leases
                    .insert(*layer, (held, Instant::now() + self.lease_lifetime));
                // Nobody knows of it then, and it ends by itself.
                answer(trouble, ()).map_err(&place)?;
                Acquired::Held(Box::new(SimLease {
                    tier: self.clone(),
                    layer: *layer,
                    token,
                    released: false,
                    _entered: board.in_hands.enter(*layer, &self.process),
                }))
            }
        };
        answer(trouble, acquired).map_err(place)
    }
}

#[derive(Debug)]
struct SimLease {
    tier: SimTier,
    layer: Digest,
    token: u64,
    released: bool,
    _entered: Entered,
}

impl SimLease {
    async fn call(&self, step: Step) -> Result<Option<Trouble>> {
        let SimTier { inner, process, .. } = &self.tier;
        let trouble = inner.board.play.call(step, process).await?;
        if trouble == Some(Trouble::Vanish) {
            inner.board.lock().leases.remove(&self.layer);
        }
        Ok(trouble)
    }

    fn place(&self, operation: &'static str) -> impl Fn(Error) -> Error + use<> {
        self.tier.place(operation, &self.layer)
    }
}

#[async_trait]
impl Lease for SimLease {
    fn token(&self) -> u64 {
        self.token
    }

    fn lifetime(&self) -> Duration {
        self.tier.lease_lifetime
    }

    async fn renew(&self, progress: u64) -> Result<bool> {
        let place = self.place("renew the lease");
        let trouble = self.call(Step::Renew).await.map_err(&place)?;
        let mut state = self.tier.inner.board.lock();
        let held = state.holds(&self.layer, self.token);
        if held {
            let token = self.token;
            let renewed = Stand::Held(LeaseHolder { token, progress });
            state
                .leases
                .insert(self.layer, (renewed, Instant::now() + self.lifetime()));
        }
        answer(trouble, held).map_err(place)
    }

    async fn release(mut self: Box<Self>, release: Release) -> Result<()> {
        let place = self.place("release the lease");
        let called = self.call(Step::Release).await;
        // What fails is not tried again: it ends by itself.
        self.released = true;
        let trouble = called.map_err(&place)?;
        self.tier.end_lease(&self.layer, self.token, release);
        answer(trouble, ()).map_err(place)
    }
}

impl Drop for SimLease {
    fn drop(&mut self) {
        if !self.released && self.tier.process.is_alive() {
            self.tier.end_lease(&self.layer, self.token, Release::Free);
        }
    }
}

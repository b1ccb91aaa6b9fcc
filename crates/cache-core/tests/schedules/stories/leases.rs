//! Workers that share a store leave a layer to one of them.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use cache_core::lease::{Acquired, Lease, LeaseHolder, Leases, Release};
use cache_core::{Digest, SourceOptions};

/// Leases that are renewed at any moment, and end when they are given back.
#[derive(Clone, Debug, Default)]
struct Board(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    holder: Option<LeaseHolder>,
    given_up: bool,
}

#[derive(Debug)]
struct Held {
    board: Board,
    token: u64,
}

#[async_trait]
impl Leases for Board {
    async fn acquire(&self, _layer: &Digest) -> Result<Acquired> {
        let mut state = self.0.lock().unwrap();
        if let Some(holder) = state.holder {
            return Ok(Acquired::Busy(holder));
        }
        if state.given_up {
            return Ok(Acquired::GivenUp);
        }
        state.last += 1;
        let token = state.last;
        state.holder = Some(LeaseHolder { token, progress: 0 });
        let board = self.clone();
        Ok(Acquired::Held(Box::new(Held { board, token })))
    }
}

#[async_trait]
impl Lease for Held {
    fn token(&self) -> u64 {
        self.token
    }

    fn lifetime(&self) -> Duration {
        Duration::from_millis(1)
    }

    async fn renew(&self, progress: u64) -> Result<bool> {
        let token = self.token;
        self.board.0.lock().unwrap().holder = Some(LeaseHolder { token, progress });
        Ok(true)
    }

    async fn release(self: Box<Self>, release: Release) -> Result<()> {
        let mut state = self.board.0.lock().unwrap();
        assert_eq!(state.holder.map(|holder| holder.token), Some(self.token));
        state.holder = None;
        state.given_up |= release == Release::GiveUp;
        Ok(())
    }
}

/// Two workers, each with a local tier. What their readers got was the layer. Returns how often the lease was given.
async fn two_workers(shared: Shelf, origin: &Arc<Origin>) -> u64 {
    let board = Board::default();
    let workers = ["one", "two"].map(|name| {
        LayerCache::builder()
            .tier(Arc::new(Shelf::local(name)))
            .tier_with(
                Arc::new(shared.clone()),
                SourceOptions::default().with_leases(Arc::new(board.clone())),
            )
            .source(Arc::new(Arc::clone(origin)))
            .build()
            .unwrap()
    });
    let layer = descriptor(LAYER);
    let readers = workers.clone().map(|cache| spawn(read(cache, layer.clone())));
    for reader in readers {
        if let Ok(bytes) = reader.await.unwrap() {
            assert_eq!(bytes, LAYER);
        }
    }
    for worker in &workers {
        at_rest(worker, &layer).await;
    }
    let state = board.0.lock().unwrap();
    assert!(state.holder.is_none(), "a lease was not given back");
    state.last
}

#[test]
fn one_worker_fetches_and_the_other_finds_the_layer() {
    explore(|| async {
        let (shared, origin) = (Shelf::shared("shared"), Origin::new("origin", LAYER, &[]));
        two_workers(shared.clone(), &origin).await;
        assert_eq!((origin.streams(), shared.used()), (1, LAYER.len()));
    });
}

/// The worker that fetches the layer first fails.
async fn taking_over(act: Act) {
    let (shared, origin) = (Shelf::shared("shared"), Origin::new("origin", LAYER, &[act]));
    two_workers(shared.clone(), &origin).await;
    assert_eq!((origin.streams(), shared.used()), (2, LAYER.len()));
}

#[test]
fn a_worker_takes_over_from_one_that_is_cut_off() {
    explore(|| taking_over(Act::Cut(2)));
}

#[test]
fn a_worker_takes_over_from_one_that_panics() {
    explore(|| taking_over(Act::Panic(2)));
}

#[test]
fn a_worker_that_cannot_publish_tells_the_other() {
    explore(|| async {
        let shared = Shelf::shared("shared").full_at(2);
        let origin = Origin::new("origin", LAYER, &[]);
        assert_eq!(two_workers(shared.clone(), &origin).await, 1);
        assert_eq!((origin.streams(), shared.used()), (2, 0));
    });
}

//! Many workers that lack a layer leave it to one of them to fetch it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::*;
use cache_core::guard::{Guarded, Operation, Policy};
use cache_core::lease::{Acquired, Lease, LeaseHolder, Leases, Release};
use cache_core::{Digest, SourceOptions};

const LIFETIME: Duration = Duration::from_secs(9);

/// Leases in memory.
#[derive(Debug, Default)]
struct Board {
    state: Mutex<State>,
    down: bool,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    held: HashMap<Digest, (LeaseHolder, Instant)>,
    given_up: bool,
    acquired: u64,
}

#[derive(Debug)]
struct Held {
    board: Arc<Board>,
    layer: Digest,
    token: u64,
}

impl Board {
    fn has_leases(&self) -> bool {
        !self.state.lock().unwrap().held.is_empty()
    }

    /// Somebody else holds the lease for this long.
    fn occupy(&self, layer: &Digest, lifetime: Duration) {
        let holder = LeaseHolder {
            token: 0,
            progress: 0,
        };
        let ends = Instant::now() + lifetime;
        self.state.lock().unwrap().held.insert(*layer, (holder, ends));
    }
}

/// Leases of a board for one worker.
#[derive(Debug)]
struct Clerk(Arc<Board>);

#[async_trait]
impl Leases for Clerk {
    async fn acquire(&self, layer: &Digest) -> Result<Acquired> {
        if self.0.down {
            return Err(cut());
        }
        let mut state = self.0.state.lock().unwrap();
        if state.given_up {
            return Ok(Acquired::GivenUp);
        }
        if let Some((holder, ends)) = state.held.get(layer)
            && *ends > Instant::now()
        {
            return Ok(Acquired::Busy(*holder));
        }
        state.last += 1;
        state.acquired += 1;
        let token = state.last;
        state.held.insert(
            *layer,
            (LeaseHolder { token, progress: 0 }, Instant::now() + LIFETIME),
        );
        Ok(Acquired::Held(Box::new(Held {
            board: Arc::clone(&self.0),
            layer: *layer,
            token,
        })))
    }
}

#[async_trait]
impl Lease for Held {
    fn token(&self) -> u64 {
        self.token
    }

    fn lifetime(&self) -> Duration {
        LIFETIME
    }

    async fn renew(&self, progress: u64) -> Result<bool> {
        let mut state = self.board.state.lock().unwrap();
        let Some((holder, ends)) = state.held.get_mut(&self.layer) else {
            return Ok(false);
        };
        holder.progress = progress;
        *ends = Instant::now() + LIFETIME;
        Ok(holder.token == self.token)
    }

    async fn release(self: Box<Self>, release: Release) -> Result<()> {
        let mut state = self.board.state.lock().unwrap();
        state.held.remove(&self.layer);
        state.given_up |= release == Release::GiveUp;
        Ok(())
    }
}

/// Takes a while to commit.
#[derive(Clone, Debug)]
struct SlowCommit;

impl Policy for SlowCommit {
    async fn run<T: Send>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        if operation == Operation::Commit {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        work.await
    }
}

/// Workers with a local tier each, and one shared tier that takes `full_at` bytes.
fn workers(count: usize, board: &Arc<Board>, full_at: u64, origin: &Arc<Script>) -> Vec<LayerCache> {
    let shared = Faulty {
        inner: memory("shared"),
        full_at,
        read_while_write: false,
    };
    workers_sharing(Arc::new(shared), count, board, origin)
}

fn workers_sharing(
    shared: Arc<dyn Tier>,
    count: usize,
    board: &Arc<Board>,
    origin: &Arc<Script>,
) -> Vec<LayerCache> {
    let worker = |_| {
        LayerCache::builder()
            .tier(memory("local"))
            .tier_with(
                shared.clone(),
                SourceOptions::default().with_leases(Arc::new(Clerk(Arc::clone(board)))),
            )
            .source(origin.clone())
            .build()
            .unwrap()
    };
    (0..count).map(worker).collect()
}

async fn read_all(workers: &[LayerCache], layer: &LayerDescriptor, bytes: &Bytes) {
    let reads = workers.iter().map(|worker| async {
        assert_eq!(all(worker.get(layer).await.unwrap()).await.unwrap(), *bytes);
    });
    join_all(reads).await;
    for worker in workers {
        worker.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn workers_that_start_together_ask_the_origin_once() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let board = Arc::new(Board::default());
    let origin = Script::origin("origin", &bytes, []);
    read_all(&workers(16, &board, u64::MAX, &origin), &layer, &bytes).await;
    assert_eq!(origin.streams(), 1);
    assert!(!board.has_leases());
}

/// A source that serves ranges costs little to ask: many may do it at once.
#[tokio::test(start_paused = true)]
async fn no_lease_is_asked_for_a_layer_that_is_no_origin_s() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let board = Arc::new(Board::default());
    let far = Script::far("far", &bytes, []);
    read_all(&workers(1, &board, u64::MAX, &far), &layer, &bytes).await;
    assert_eq!(board.state.lock().unwrap().acquired, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_held_until_the_layer_is_published() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let board = Arc::new(Board::default());
    let origin = Script::origin("origin", &bytes, []);
    let shared = Faulty {
        inner: Guarded::with_policy(memory("shared"), SlowCommit),
        full_at: u64::MAX,
        read_while_write: false,
    };
    let workers = workers_sharing(Arc::new(shared), 4, &board, &origin);
    read_all(&workers, &layer, &bytes).await;
    assert_eq!(origin.streams(), 1);
    assert!(!board.has_leases());
}

#[tokio::test(start_paused = true)]
async fn a_slow_fetch_is_waited_for_as_long_as_it_makes_progress() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let board = Arc::new(Board::default());
    let origin = Script::origin("origin", &bytes, []).gated(0);
    let workers = workers(4, &board, u64::MAX, &origin);
    let start = Instant::now();
    let dripping = async {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(6)).await;
            origin.gate.add_permits(1);
        }
        // For whoever fetches it although nobody has to.
        origin.gate.add_permits(1000);
    };
    tokio::join!(read_all(&workers, &layer, &bytes), dripping);
    assert_eq!(origin.streams(), 1);
    assert!(start.elapsed() >= Duration::from_secs(120));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_makes_no_progress_is_not_waited_for() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let board = Arc::new(Board::default());
    board.occupy(&layer.digest, Duration::from_secs(3600));
    let origin = Script::origin("origin", &bytes, []);
    let start = Instant::now();
    read_all(&workers(1, &board, u64::MAX, &origin), &layer, &bytes).await;
    assert_eq!(origin.streams(), 1);
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_dead_holder_is_taken_over_by_one() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let board = Arc::new(Board::default());
    board.occupy(&layer.digest, LIFETIME);
    let origin = Script::origin("origin", &bytes, []);
    read_all(&workers(8, &board, u64::MAX, &origin), &layer, &bytes).await;
    assert_eq!(origin.streams(), 1);
    assert!(board.state.lock().unwrap().acquired >= 1);
    assert!(!board.has_leases());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_layer_that_cannot_be_published() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let board = Arc::new(Board::default());
    let origin = Script::origin("origin", &bytes, []);
    let start = Instant::now();
    read_all(&workers(5, &board, 100, &origin), &layer, &bytes).await;
    assert_eq!(origin.streams(), 5);
    assert!(board.state.lock().unwrap().given_up);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_had_stops_nobody() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let board = Arc::new(Board {
        down: true,
        ..Board::default()
    });
    let origin = Script::origin("origin", &bytes, []);
    read_all(&workers(3, &board, u64::MAX, &origin), &layer, &bytes).await;
    assert!((1..=3).contains(&origin.streams()));
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_fetch_that_fails_goes_to_the_next() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let board = Arc::new(Board::default());
    let origin = Script::origin("origin", &bytes, [Act::Fail(cut())]);
    let workers = workers(2, &board, u64::MAX, &origin);
    let (first, second) = tokio::join!(workers[0].get(&layer), workers[1].get(&layer));
    let outcomes = [first, second].map(|opened| opened.is_ok());
    assert!(outcomes.contains(&true) && outcomes.contains(&false));
    for worker in &workers {
        worker.close().await;
    }
    assert!(!board.has_leases());
}

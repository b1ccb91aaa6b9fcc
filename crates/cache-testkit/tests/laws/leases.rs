//! Laws of leases can fail as well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::lease::{Acquired, Lease, LeaseHolder, Leases, Release};
use cache_core::{Digest, Result};
use cache_testkit::laws::{LeaseSubject, check, lease};
use cache_testkit::lease_laws;
use tokio::task::yield_now;
use tokio::time::Instant;

/// One thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    EverybodyHolds,
    OneForAllLayers,
    TokensStandStill,
    ReleasedIsHeld,
    DroppedIsHeld,
    NeverEnds,
    ProgressIsNotTold,
    LostIsRenewed,
    LostIsReleased,
    GivingUpIsNotTold,
    CancelledRenewalFrees,
    CancelledReleaseHolds,
}

/// The smallest leases there are.
#[derive(Clone, Debug, Default)]
struct Toy {
    bug: Option<Bug>,
    lifetime: Duration,
    board: Arc<Mutex<Board>>,
}

#[derive(Debug, Default)]
struct Board {
    last: u64,
    /// Nobody holds what was given up.
    leases: HashMap<Digest, (Option<LeaseHolder>, Instant)>,
}

#[derive(Debug)]
struct Held {
    toy: Toy,
    layer: Digest,
    token: u64,
}

impl Toy {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn ends(&self) -> Instant {
        let never = self.has(Bug::NeverEnds);
        Instant::now()
            + if never {
                Duration::from_secs(3600)
            } else {
                self.lifetime
            }
    }
}

impl Held {
    /// Replaces what the others see, if the lease is still held; whether it is.
    fn put(&self, seen: Option<(Option<LeaseHolder>, Instant)>) -> bool {
        let mut board = self.toy.board.lock().unwrap();
        let held = matches!(board.leases.get(&self.layer), Some((Some(holder), ends))
            if *ends > Instant::now() && holder.token == self.token);
        let wrong = self.toy.has(Bug::LostIsReleased) && seen.is_none();
        if held || wrong {
            match seen {
                Some(seen) => board.leases.insert(self.layer, seen),
                None => board.leases.remove(&self.layer),
            };
        }
        held || self.toy.has(Bug::LostIsRenewed)
    }
}

#[async_trait]
impl Leases for Toy {
    async fn acquire(&self, layer: &Digest) -> Result<Acquired> {
        yield_now().await;
        let one_for_all = self.has(Bug::OneForAllLayers);
        let layer = if one_for_all {
            Digest::sha256_of(b"all")
        } else {
            *layer
        };
        let taken = {
            let mut board = self.board.lock().unwrap();
            board.leases.retain(|_, (_, ends)| *ends > Instant::now());
            match board.leases.get(&layer) {
                Some((None, _)) => Err(Acquired::GivenUp),
                Some((Some(holder), _)) if !self.has(Bug::EverybodyHolds) => Err(Acquired::Busy(*holder)),
                _ => {
                    board.last += u64::from(board.last == 0 || !self.has(Bug::TokensStandStill));
                    let token = board.last;
                    let holder = LeaseHolder { token, progress: 0 };
                    board.leases.insert(layer, (Some(holder), self.ends()));
                    Ok(token)
                }
            }
        };
        // Who goes away here has taken it unseen.
        yield_now().await;
        Ok(taken.map_or_else(
            |others| others,
            |token| {
                let toy = self.clone();
                Acquired::Held(Box::new(Held { toy, layer, token }))
            },
        ))
    }
}

#[async_trait]
impl Lease for Held {
    fn token(&self) -> u64 {
        self.token
    }

    fn lifetime(&self) -> Duration {
        self.toy.lifetime
    }

    async fn renew(&self, progress: u64) -> Result<bool> {
        let told = !self.toy.has(Bug::ProgressIsNotTold);
        let holder = LeaseHolder {
            token: self.token,
            progress: if told { progress } else { 0 },
        };
        let taken = self.toy.has(Bug::CancelledRenewalFrees).then(|| {
            let mut board = self.toy.board.lock().unwrap();
            board.leases.remove(&self.layer)
        });
        yield_now().await;
        if let Some(taken) = taken.flatten() {
            self.toy.board.lock().unwrap().leases.insert(self.layer, taken);
        }
        Ok(self.put(Some((Some(holder), self.toy.ends()))))
    }

    async fn release(mut self: Box<Self>, release: Release) -> Result<()> {
        let token = self.token;
        if self.toy.has(Bug::ReleasedIsHeld) || self.toy.has(Bug::CancelledReleaseHolds) {
            // Of no lease: dropping it now changes nothing.
            self.token = 0;
        }
        yield_now().await;
        if !self.toy.has(Bug::ReleasedIsHeld) {
            self.token = token;
        }
        let told = release == Release::GiveUp && !self.toy.has(Bug::GivingUpIsNotTold);
        self.put(told.then(|| (None, Instant::now() + Duration::from_secs(10))));
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.toy.has(Bug::DroppedIsHeld) {
            self.put(None);
        }
    }
}

fn subject(bug: Option<Bug>) -> LeaseSubject {
    let toy = Toy {
        bug,
        ..Toy::default()
    };
    LeaseSubject::new(move |lifetime| {
        let toy = toy.clone();
        Arc::new(Toy { lifetime, ..toy })
    })
}

macro_rules! caught {
    ($($name:ident: $bug:ident by $law:ident, $says:literal;)*) => { $(
        #[test]
        #[should_panic(expected = $says)]
        fn $name() {
            check(async { subject(Some(Bug::$bug)) }, lease::$law);
        }
    )* };
}

caught! {
    everybody_holds_it: EverybodyHolds by one_of_many_holds_it, "how many of eight";
    one_lease_for_all_layers: OneForAllLayers by one_of_many_holds_it, "a lease that is free is Busy";
    tokens_stand_still: TokensStandStill by a_released_lease_is_free, "a token that does not grow";
    released_and_held: ReleasedIsHeld by a_released_lease_is_free, "a lease that is free is Busy";
    dropped_and_held: DroppedIsHeld by a_dropped_lease_is_given_back, "the lease becomes free";
    a_lease_that_never_ends: NeverEnds by the_lease_of_a_dead_holder_ends, "the lease becomes free";
    progress_is_not_told: ProgressIsNotTold by progress_is_told, "who holds the lease";
    a_lost_lease_is_renewed: LostIsRenewed by who_has_lost_it_does_nothing_to_the_next, "a lost lease is renewed";
    a_lost_lease_is_released: LostIsReleased by who_has_lost_it_does_nothing_to_the_next, "a lease that is held is";
    giving_up_is_not_told: GivingUpIsNotTold by giving_up_is_told, "a lease that was given up is Held";
    taken_unseen_for_ever: NeverEnds by a_cancelled_acquire_holds_up_nobody, "the lease becomes free";
    a_cancelled_renewal_frees: CancelledRenewalFrees by a_cancelled_renewal_loses_nothing, "the lease is held";
    a_cancelled_release_holds: CancelledReleaseHolds by a_cancelled_release_gives_it_back, "the lease becomes free";
}

// Without a bug they keep every law, so it is the bug that is caught.
lease_laws!(toy_leases, || async { subject(None) });

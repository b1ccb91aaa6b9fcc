//! Laws of leases ([`Leases`]).
//!
//! Where a lease is meant to end by itself it lasts a moment, and where it is not, longer than any test.

use std::time::Duration;

use cache_core::Digest;
use cache_core::lease::{Acquired, Lease, LeaseHolder, Leases, Release};
use futures_util::future::join_all;

use super::LeaseSubject;
use super::polls::Cut;
use super::sample::random_digest;
use super::steps::well;

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(100);
/// How long a lease that becomes free is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two looks at what ends by itself.
const PAUSE: Duration = Duration::from_millis(5);

/// "Of all workers at most one holds the lease of a layer", the others are told who, and other layers have nothing to do with it.
pub async fn one_of_many_holds_it(subject: &LeaseSubject) {
    let layer = random_digest();
    let workers: Vec<_> = (0..8).map(|_| subject.worker(LONG)).collect();
    let all = join_all(workers.iter().map(|worker| acquire(&**worker, &layer))).await;
    let (mut held, others): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|acquired| matches!(acquired, Acquired::Held(_)));
    assert_eq!(held.len(), 1, "how many of eight workers hold one lease");
    let lease = taken(held.remove(0));
    assert_eq!(lease.lifetime(), LONG, "the lifetime");
    for other in others {
        is_busy(&other, &*lease, 0);
    }
    let other_layer = taken(acquire(&*workers[0], &random_digest()).await);
    well(other_layer.release(Release::Free).await, "release");
    well(lease.release(Release::Free).await, "release");
}

/// "Gives it back": the next worker has it at once, with a token that is "greater than that of every earlier lease".
pub async fn a_released_lease_is_free(subject: &LeaseSubject) {
    let (layer, worker, other) = (random_digest(), subject.worker(LONG), subject.worker(LONG));
    let mut last = 0;
    for worker in [&worker, &other, &worker, &worker] {
        let lease = taken(acquire(&**worker, &layer).await);
        assert!(lease.token() > last, "a token that does not grow");
        last = lease.token();
        well(lease.release(Release::Free).await, "release");
    }
}

/// "Dropping it gives it back in the background".
pub async fn a_dropped_lease_is_given_back(subject: &LeaseSubject) {
    let (layer, worker, other) = (random_digest(), subject.worker(LONG), subject.worker(LONG));
    drop(taken(acquire(&*worker, &layer).await));
    let lease = eventually(&*other, &layer).await;
    well(lease.release(Release::Free).await, "release");
}

/// "A lease that is not renewed ends after its lifetime, so that a holder that dies holds up nobody for long."
pub async fn the_lease_of_a_dead_holder_ends(subject: &LeaseSubject) {
    let (layer, worker, other) = (random_digest(), subject.worker(SHORT), subject.worker(LONG));
    // A process that is killed runs no destructor.
    std::mem::forget(taken(acquire(&*worker, &layer).await));
    let lease = eventually(&*other, &layer).await;
    well(lease.release(Release::Free).await, "release");
}

/// `renew` "tells the others how many bytes of work are done; whether it is still held".
pub async fn progress_is_told(subject: &LeaseSubject) {
    let (layer, worker, other) = (random_digest(), subject.worker(LONG), subject.worker(LONG));
    let lease = taken(acquire(&*worker, &layer).await);
    for progress in [1, 1 << 40, u64::MAX] {
        assert!(well(lease.renew(progress).await, "renew"), "the lease is held");
        is_busy(&acquire(&*other, &layer).await, &*lease, progress);
    }
    well(lease.release(Release::Free).await, "release");
}

/// A holder "that has lost it and does not know yet" is told, and does nothing to the next one, whatever it tries.
pub async fn who_has_lost_it_does_nothing_to_the_next(subject: &LeaseSubject) {
    let (layer, other) = (random_digest(), subject.worker(LONG));
    let slow = subject.worker(SHORT);
    let mut old = vec![taken(acquire(&*slow, &layer).await)];
    for _ in 0..3 {
        old.push(eventually(&*slow, &layer).await);
    }
    let new = eventually(&*other, &layer).await;
    assert!(
        old.iter().all(|old| old.token() < new.token()),
        "a token that does not grow"
    );
    for old in &old {
        assert!(!well(old.renew(7).await, "renew"), "a lost lease is renewed");
    }
    is_busy(&acquire(&*slow, &layer).await, &*new, 0);
    // "If it is still held": it is not, and that is no failure.
    for release in [Release::Free, Release::GiveUp] {
        let lost = old.pop().expect("four of them");
        well(lost.release(release).await, "releasing a lost lease");
        is_busy(&acquire(&*slow, &layer).await, &*new, 0);
    }
    drop(old);
    assert!(well(new.renew(1).await, "renew"), "the lease is held");
    well(new.release(Release::Free).await, "release");
}

/// "The layer was fetched but cannot be published: see [`Acquired::GivenUp`]."
pub async fn giving_up_is_told(subject: &LeaseSubject) {
    let (layer, worker, other) = (random_digest(), subject.worker(LONG), subject.worker(LONG));
    let lease = taken(acquire(&*worker, &layer).await);
    well(lease.release(Release::GiveUp).await, "release");
    for worker in [other, worker] {
        let acquired = acquire(&*worker, &layer).await;
        assert!(
            matches!(acquired, Acquired::GivenUp),
            "a lease that was given up is {acquired:?}"
        );
    }
}

/// "Dropping a future cancels it; a lease that was then taken unseen ends by itself."
pub async fn a_cancelled_acquire_holds_up_nobody(subject: &LeaseSubject) {
    let (worker, other) = (subject.worker(SHORT), subject.worker(LONG));
    Cut::each(async |cut| {
        let layer = random_digest();
        let done = cut.run(worker.acquire(&layer)).await.is_some();
        let lease = eventually(&*other, &layer).await;
        well(lease.release(Release::Free).await, "release");
        done
    })
    .await;
}

/// A renewal that was cancelled has told of the progress, or it has not; the lease is held in any case.
pub async fn a_cancelled_renewal_loses_nothing(subject: &LeaseSubject) {
    let (layer, worker, other) = (random_digest(), subject.worker(LONG), subject.worker(LONG));
    let lease = taken(acquire(&*worker, &layer).await);
    Cut::each(async |cut| {
        let done = cut.run(lease.renew(1)).await.is_some();
        assert!(well(lease.renew(2).await, "renew"), "the lease is held");
        let seen = acquire(&*other, &layer).await;
        // What was cancelled may still arrive.
        assert!(matches!(seen, Acquired::Busy(holder) if holder.token == lease.token()));
        done
    })
    .await;
    well(lease.release(Release::Free).await, "release");
}

/// Giving back is not given up: the lease is dropped with the future.
pub async fn a_cancelled_release_gives_it_back(subject: &LeaseSubject) {
    let (worker, other) = (subject.worker(LONG), subject.worker(LONG));
    Cut::each(async |cut| {
        let layer = random_digest();
        let lease = taken(acquire(&*worker, &layer).await);
        let done = cut.run(lease.release(Release::Free)).await.is_some();
        let next = eventually(&*other, &layer).await;
        well(next.release(Release::Free).await, "release");
        done
    })
    .await;
}

async fn acquire(leases: &dyn Leases, layer: &Digest) -> Acquired {
    well(leases.acquire(layer).await, "acquire")
}

fn taken(acquired: Acquired) -> Box<dyn Lease> {
    match acquired {
        Acquired::Held(lease) => lease,
        other => panic!("a lease that is free is {other:?}"),
    }
}

/// Asks for a lease until it is free.
async fn eventually(leases: &dyn Leases, layer: &Digest) -> Box<dyn Lease> {
    let free = async {
        loop {
            if let Acquired::Held(lease) = acquire(leases, layer).await {
                return lease;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let freed = tokio::time::timeout(PATIENCE, free).await;
    freed.expect("the lease becomes free")
}

fn is_busy(acquired: &Acquired, lease: &dyn Lease, progress: u64) {
    let Acquired::Busy(holder) = acquired else {
        panic!("a lease that is held is {acquired:?}")
    };
    let token = lease.token();
    assert_eq!(*holder, LeaseHolder { token, progress }, "who holds the lease");
}

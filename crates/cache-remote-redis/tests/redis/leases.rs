//! One worker of many has the lease.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_core::lease::{Acquired, Lease, LeaseHolder, Leases, Release};
use cache_core::{Digest, ErrorKind};
use cache_remote_redis::RedisConfig;
use cache_testkit::RedisServer;
use futures_util::future::join_all;

use crate::support::*;

const SHORT: Duration = Duration::from_millis(50);

fn leases(config: RedisConfig) -> Arc<dyn Leases> {
    tier(config).leases()
}

fn layer() -> Digest {
    Digest::sha256_of(&fastrand::u128(..).to_le_bytes())
}

fn held(acquired: Acquired) -> Box<dyn Lease> {
    match acquired {
        Acquired::Held(lease) => lease,
        other => panic!("{other:?}"),
    }
}

fn holder(acquired: &Acquired) -> LeaseHolder {
    match acquired {
        Acquired::Busy(holder) => *holder,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn of_fifty_workers_one_has_the_lease_and_the_others_know_who() {
    for config in deployments() {
        let layer = layer();
        let workers = (0..50).map(|_| {
            let leases = leases(config.clone());
            async move { leases.acquire(&layer).await.unwrap() }
        });
        let (mut holders, others): (Vec<_>, Vec<_>) = join_all(workers)
            .await
            .into_iter()
            .partition(|acquired| matches!(acquired, Acquired::Held(_)));
        assert_eq!(holders.len(), 1);
        let lease = held(holders.remove(0));
        assert_eq!(lease.lifetime(), Duration::from_secs(10));
        for other in &others {
            assert_eq!(
                holder(other),
                LeaseHolder {
                    token: lease.token(),
                    progress: 0
                }
            );
        }
        lease.release(Release::Free).await.unwrap();
    }
}

#[tokio::test]
async fn a_holder_tells_its_progress_and_its_tokens_grow() {
    let (mine, others, layer) = (leases(one()), leases(one()), layer());
    let lease = held(mine.acquire(&layer).await.unwrap());
    for progress in [1, u64::MAX] {
        assert!(lease.renew(progress).await.unwrap());
        let seen = others.acquire(&layer).await.unwrap();
        assert_eq!(
            holder(&seen),
            LeaseHolder {
                token: lease.token(),
                progress
            }
        );
    }
    let first = lease.token();
    lease.release(Release::Free).await.unwrap();
    let lease = held(others.acquire(&layer).await.unwrap());
    assert!(lease.token() > first);
    lease.release(Release::Free).await.unwrap();
    assert_eq!(Raw::one().await.keys_of(&layer).await, [""; 0]);
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_ends_and_its_holder_cannot_disturb_the_next_one() {
    let (slow, next, layer) = (leases(one().with_lease_lifetime(SHORT)), leases(one()), layer());
    let old = held(slow.acquire(&layer).await.unwrap());
    let mut taken = None;
    eventually("it ends", async || {
        if let Acquired::Held(lease) = next.acquire(&layer).await.unwrap() {
            taken = Some(lease);
        }
        taken.is_some()
    })
    .await;
    let new = taken.unwrap();
    assert!(new.token() > old.token());
    assert!(!old.renew(5).await.unwrap());
    old.release(Release::GiveUp).await.unwrap();
    let seen = leases(one()).acquire(&layer).await.unwrap();
    assert_eq!(
        holder(&seen),
        LeaseHolder {
            token: new.token(),
            progress: 0
        }
    );
    assert!(new.renew(1).await.unwrap());
    new.release(Release::Free).await.unwrap();
}

#[tokio::test]
async fn renewing_makes_a_lease_last() {
    let (leases, raw, layer) = (leases(one()), Raw::one().await, layer());
    let lease = held(leases.acquire(&layer).await.unwrap());
    let key = format!("clip:oci:layer:lease:{layer}");
    raw.run::<()>(&[&"PEXPIRE", &key, &"1000"]).await;
    assert!(lease.renew(0).await.unwrap());
    assert!(raw.pttl(&key).await > 1000);
    lease.release(Release::Free).await.unwrap();
}

#[tokio::test]
async fn a_lease_that_is_dropped_is_given_back() {
    let (leases, raw, layer) = (leases(one()), Raw::one().await, layer());
    drop(held(leases.acquire(&layer).await.unwrap()));
    eventually("it is given back", async || raw.keys_of(&layer).await.is_empty()).await;
}

#[tokio::test]
async fn others_are_told_for_a_while_that_there_is_nothing_to_wait_for() {
    for config in [one(), cluster()] {
        let (mine, others, layer) = (leases(config.clone()), leases(config), layer());
        held(mine.acquire(&layer).await.unwrap())
            .release(Release::GiveUp)
            .await
            .unwrap();
        assert!(matches!(others.acquire(&layer).await.unwrap(), Acquired::GivenUp));
    }
    let (leases, raw, layer) = (leases(one()), Raw::one().await, layer());
    held(leases.acquire(&layer).await.unwrap())
        .release(Release::GiveUp)
        .await
        .unwrap();
    let left = raw.pttl(&format!("clip:oci:layer:lease:{layer}")).await;
    assert!((1..=10_000).contains(&left), "{left}");
}

#[tokio::test]
async fn tokens_grow_over_a_restart_that_forgets_them() {
    let mut server = RedisServer::start(&[]);
    let (leases, layer) = (leases(config([server.url()])), layer());
    let mut last = 0;
    for _ in 0..20 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let lease = held(leases.acquire(&layer).await.unwrap());
        assert!(lease.token() > last);
        // Or a server that comes back soon gives one that was given in advance.
        assert!(u128::from(lease.token()) >= now.as_micros());
        last = lease.token();
        lease.release(Release::Free).await.unwrap();
    }
    let old = held(leases.acquire(&layer).await.unwrap());
    server.restart();
    // The first request finds out that its connection is gone.
    let mut renewed = old.renew(1).await;
    if renewed.is_err() {
        renewed = old.renew(1).await;
    }
    assert!(!renewed.unwrap());
    let new = held(leases.acquire(&layer).await.unwrap());
    assert!(new.token() > old.token());
}

#[tokio::test]
async fn what_is_no_lease_is_unavailable() {
    let (leases, raw, layer) = (leases(one()), Raw::one().await, layer());
    let key = format!("clip:oci:layer:lease:{layer}");
    for value in ["garbage", "1:", ":1", "1:2:3", "-1:0", &"9".repeat(1000)] {
        raw.run::<()>(&[&"SET", &key, &value]).await;
        assert_eq!(
            kind(leases.acquire(&layer).await),
            ErrorKind::Unavailable,
            "{value}"
        );
    }
    raw.run::<()>(&[&"DEL", &key]).await;
    raw.run::<()>(&[&"LPUSH", &key, &"x"]).await;
    assert_eq!(kind(leases.acquire(&layer).await), ErrorKind::Unavailable);
    raw.run::<()>(&[&"DEL", &key]).await;
}

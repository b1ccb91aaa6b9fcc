//! Errors of the file system: each system call that changes or locks something fails once.

use std::collections::BTreeSet;

use cache_testkit::crash::{Action, Call, Disk, Strace, points, some_of};

use super::check::check;
use super::script::{EVICTING, FILLING, QUARANTINING, REMOVING, REPAIRING, Scenario, log};
use crate::support::Cache;

/// What was reported as done, before the failure or behind it, is there even if the power is lost in the end.
async fn failed_everywhere(scenarios: &[Scenario]) {
    for scenario in scenarios {
        let (cache, _) = scenario.prepare().await;
        let mut checked = BTreeSet::new();
        let (_, trace) = scenario.run(&cache, Strace::new(log(&cache)));
        for point in some_of(&points(&trace, &cache.dir())) {
            for error in ["EIO", "ENOSPC"] {
                if error == "ENOSPC" && !point.takes_space() {
                    continue;
                }
                let (cache, mut history) = scenario.prepare().await;
                let point = point.in_place_of(&cache.dir());
                eprintln!("{error} at {point:?}, staging {}", scenario.staging);
                let mut disk = Disk::of(&cache.dir());
                let strace = Strace::new(log(&cache)).with_data();
                let (ended, trace) = scenario.run(&cache, strace.with(&point, Action::Fail(error)));
                assert!(ended, "the process did not bear it");
                let failed = Some(Err(error.to_owned()));
                assert!(trace.iter().any(|call| call.result == failed), "not reached");
                assert_no_sync_is_repeated(&trace);
                for call in &trace {
                    disk.apply(call);
                    history.apply(call);
                }
                check(&cache, &history).await;
                for state in disk.states() {
                    if checked.insert((state.clone(), history.clone())) {
                        let left = Cache::in_memory();
                        state.write_to(&left.dir());
                        check(&left, &history).await;
                    }
                }
            }
        }
    }
}

/// What a sync has failed to keep is lost, and the next one succeeds without it.
fn assert_no_sync_is_repeated(trace: &[Call]) {
    let syncs = trace.iter().filter(|call| call.name == "fdatasync");
    let mut failed = BTreeSet::new();
    for sync in syncs {
        let (_, file) = sync.descriptor(0).unwrap();
        assert!(!failed.contains(file), "{} is synced once more", file.display());
        if !sync.succeeded() {
            failed.insert(file);
        }
    }
}

#[tokio::test]
async fn while_it_fills() {
    failed_everywhere(&FILLING.both_ways()).await;
}

#[tokio::test]
async fn while_it_evicts() {
    failed_everywhere(&[EVICTING]).await;
}

#[tokio::test]
async fn while_it_repairs() {
    failed_everywhere(&[REPAIRING]).await;
}

#[tokio::test]
async fn while_it_removes() {
    failed_everywhere(&[REMOVING]).await;
}

#[tokio::test]
async fn while_it_quarantines_and_pins() {
    failed_everywhere(&[QUARANTINING]).await;
}

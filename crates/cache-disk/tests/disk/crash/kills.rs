//! SIGKILL in front of every system call that changes the directory.

use cache_testkit::crash::{Action, Strace, points};

use super::check::check;
use super::script::{EVICTING, FILLING, QUARANTINING, REMOVING, REPAIRING, Scenario, log};

async fn killed_everywhere(scenarios: &[Scenario]) {
    for scenario in scenarios {
        let (cache, _) = scenario.prepare().await;
        let (ended, trace) = scenario.run(&cache, Strace::new(log(&cache)));
        assert!(ended, "the process fails when nobody kills it");
        let mut points = points(&trace, &cache.dir());
        // What is there is the same behind any other call as in front of it.
        points.retain(|point| point.changes_files());
        assert!(points.len() > 10, "{points:?}");
        for point in points {
            let (cache, mut history) = scenario.prepare().await;
            let point = point.in_place_of(&cache.dir());
            eprintln!("killed at {point:?}, staging {}", scenario.staging);
            let (ended, trace) = scenario.run(&cache, Strace::new(log(&cache)).with(&point, Action::Kill));
            assert!(!ended, "not reached");
            trace.iter().for_each(|call| history.apply(call));
            check(&cache, &history).await;
        }
    }
}

#[tokio::test]
async fn while_it_fills() {
    killed_everywhere(&FILLING.both_ways()).await;
}

#[tokio::test]
async fn while_it_evicts() {
    killed_everywhere(&[EVICTING]).await;
}

#[tokio::test]
async fn while_it_repairs() {
    killed_everywhere(&[REPAIRING]).await;
}

#[tokio::test]
async fn while_it_removes() {
    killed_everywhere(&[REMOVING]).await;
}

#[tokio::test]
async fn while_it_quarantines_and_pins() {
    killed_everywhere(&QUARANTINING.both_ways()).await;
}

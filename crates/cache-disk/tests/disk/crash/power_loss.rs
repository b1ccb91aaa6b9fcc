//! Power losses: behind every system call of a process, in every state that the disk may then be in.

use std::collections::BTreeSet;

use cache_testkit::crash::{Disk, State, Strace};

use super::check::check;
use super::script::{EVICTING, FILLING, QUARANTINING, REMOVING, REPAIRING, Scenario, log};
use crate::support::Cache;

async fn power_lost_everywhere(scenario: &Scenario) {
    for scenario in scenario.both_ways() {
        let (cache, mut history) = scenario.prepare().await;
        let mut disk = Disk::of(&cache.dir());
        let (ended, trace) = scenario.run(&cache, Strace::new(log(&cache)).with_data());
        assert!(ended);
        let mut checked = BTreeSet::new();
        for call in &trace {
            disk.apply(call);
            history.apply(call);
            for state in disk.states() {
                if checked.insert((state.clone(), history.clone())) {
                    let left = Cache::in_memory();
                    state.write_to(&left.dir());
                    // Shown when the check panics, the last one.
                    eprintln!(
                        "behind {} {:?} = {:?}, staging {}: {history:?}, {:#?}",
                        call.name,
                        call.arguments.last(),
                        call.result,
                        scenario.staging,
                        state.outline()
                    );
                    check(&left, &history).await;
                }
            }
        }
        // The model is the disk's, or all of this would prove nothing.
        assert_eq!(disk.now(), State::of(&cache.dir()));
        assert!(checked.len() > 20, "{}", checked.len());
    }
}

#[tokio::test]
async fn while_it_fills() {
    power_lost_everywhere(&FILLING).await;
}

#[tokio::test]
async fn while_it_evicts() {
    power_lost_everywhere(&EVICTING).await;
}

#[tokio::test]
async fn while_it_repairs() {
    power_lost_everywhere(&REPAIRING).await;
}

#[tokio::test]
async fn while_it_removes() {
    power_lost_everywhere(&REMOVING).await;
}

#[tokio::test]
async fn while_it_quarantines_and_pins() {
    power_lost_everywhere(&QUARANTINING).await;
}

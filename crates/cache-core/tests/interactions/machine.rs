//! Running a case.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::ErrorKind;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use crate::cluster::Cluster;
use crate::composition::{Composition, LAYERS, bytes_of, composition, digest_of};
use crate::operation::{Action, Operation, operation};
use crate::promises;
use crate::reading::act;
use crate::sources::Source;
use crate::worker::Worker;

prop_state_machine! {
    #![proptest_config(config())]
    #[test]
    fn any_composition_keeps_the_promises(sequential 1..12 => Machine);
}

/// Where the seeds of cases that failed are kept. They are tried first, for as long as cases are made as they were then; what is
/// to be tried for ever is in `regressions.rs`.
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interactions/seeds.txt");

/// As many cases as `PROPTEST_CASES` says, or 2000.
fn config() -> Config {
    let default = Config::default();
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default.cases,
        None => 2000,
    };
    let kept = default.failure_persistence.is_some();
    Config {
        cases,
        max_shrink_iters: default.max_shrink_iters.min(20_000),
        failure_persistence: kept.then(|| Box::new(FileFailurePersistence::Direct(SEEDS)) as _),
        ..default
    }
}

/// The layers never change and every answer is judged by what the sources hold, so the composition is all there is to know.
#[derive(Debug)]
struct Model;

impl ReferenceStateMachine for Model {
    type State = Composition;
    type Transition = Operation;

    fn init_state() -> BoxedStrategy<Composition> {
        composition().boxed()
    }

    fn transitions(composition: &Composition) -> BoxedStrategy<Operation> {
        operation(composition).boxed()
    }

    fn apply(composition: Composition, _: &Operation) -> Composition {
        composition
    }
}

/// The cluster, and the time in which all of it lives.
struct Machine {
    cluster: Arc<Cluster>,
    runtime: Runtime,
}

/// Runs one case that was written down.
pub(crate) fn run(composition: &Composition, operations: Vec<Operation>) {
    let mut machine = Machine::init_test(composition);
    for operation in operations {
        machine = Machine::apply(machine, composition, operation);
        Machine::check_invariants(&machine, composition);
    }
    Machine::teardown(machine, composition.clone());
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

impl Machine {
    /// Runs something that must end in time.
    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let bounded = async { timeout(promises::BOUND, work).await };
        let done = self.runtime.block_on(bounded);
        done.expect("bounded time: it takes for ever")
    }

    fn rest(&self) {
        self.run(self.cluster.rest());
        // What a killed process was about to do stays undone for ever.
        if !self.cluster.past.killed.load(Ordering::Relaxed) {
            assert_eq!(self.runtime.metrics().num_alive_tasks(), 0, "tasks at rest");
        }
    }

    /// Reads all of a layer, which must be possible if and only if a source has it.
    fn read(&self, worker: &Worker, layer: usize) {
        let host = worker.process.host();
        let mut sources = self.cluster.sources.iter();
        let held = sources.any(|source| source.holds(host, layer).is_some());
        let reader = Action::Stream {
            layer,
            offset: 0,
            pieces: None,
        };
        match self.run(act(worker, &[], &reader, true)) {
            Ok(()) => assert!(held, "layer {layer} is nowhere"),
            Err(error) if held => panic!("promise 3: healed, but: {error:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "promise 7: {error:?}"),
        }
    }
}

impl StateMachineTest for Machine {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(composition: &Composition) -> Self {
        // Pauses are jittered: the same in each run of a case.
        fastrand::seed(7);
        let cluster = Arc::new(Cluster::new(composition));
        cluster.boot();
        let runtime = runtime();
        Self { cluster, runtime }
    }

    fn apply(mut machine: Self, _: &Composition, operation: Operation) -> Self {
        let cluster = Arc::clone(&machine.cluster);
        let tier = |process: usize, source: usize| {
            cluster.disturb();
            cluster.sources[source].tier(cluster.composition.hosts[process])
        };
        match operation {
            Operation::Readers(readers) => machine.run(cluster.readers(readers)),
            Operation::Put {
                process,
                source,
                layer,
            } => {
                if let Some(tier) = tier(process, source) {
                    tier.put(digest_of(layer), bytes_of(layer));
                }
            }
            Operation::Evict {
                process,
                source,
                layer,
            } => {
                if let Some(tier) = tier(process, source) {
                    tier.evict(&digest_of(layer));
                    cluster.past.lost.store(true, Ordering::Relaxed);
                }
            }
            Operation::Wait(seconds) => machine.run(async { sleep(Duration::from_secs(seconds)).await }),
            Operation::Flush => machine.rest(),
            Operation::Blackout => {
                // All tasks end where they are.
                machine.runtime = runtime();
                promises::nothing_is_left_over(&cluster.sources);
                cluster.crash();
                cluster.boot();
            }
            Operation::Heal { source } => cluster.sources[source].heal(),
        }
        machine
    }

    fn check_invariants(machine: &Self, _: &Composition) {
        let cluster = &machine.cluster;
        promises::committed_is_right(&cluster.sources);
        promises::fetches_are_single(cluster);
        promises::giving_up_is_told(cluster);
        promises::what_is_behind_is_left_alone(cluster);
    }

    /// In the end everything is healed, and then everything must work, in any order of the sources.
    fn teardown(machine: Self, composition: Composition) {
        let sources = &machine.cluster.sources;
        sources.iter().for_each(Source::heal);
        // Breakers are closed again by then, and no lease of a killed process is left.
        machine.run(async { sleep(Duration::from_secs(600)).await });
        for worker in machine.cluster.workers() {
            for layer in 0..LAYERS.len() {
                // The first operation after an outage may be the probe of a breaker that somebody else's probe holds up.
                machine.rest();
                machine.read(&worker, layer);
                machine.rest();
                let host = worker.process.host();
                promises::nearer_tiers_are_filled(&composition, sources, host, layer);
            }
        }
        let host = composition.hosts[0];
        let reordered = Worker::start(&composition, sources, composition.order.clone(), host);
        for layer in 0..LAYERS.len() {
            machine.read(&reordered, layer);
            machine.run(reordered.rest());
        }
        promises::committed_is_right(sources);
        for worker in machine.cluster.workers() {
            machine.run(worker.cache.close());
        }
    }
}

//! Running a case.

use std::time::Duration;

use cache_core::{ErrorKind, LayerCache, LayerReaderExt, LayerSourceExt, Result};
use futures_util::TryStreamExt;
use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::composition::{
    Composition, LAYERS, Source, bytes_of, cache, composition, descriptor_of, digest_of, sources,
};
use crate::operation::{Action, Operation, Reader, operation};
use crate::promises;

prop_state_machine! {
    #![proptest_config(config())]
    #[test]
    fn any_composition_keeps_the_promises(sequential 1..12 => Machine);
}

/// As many cases as `PROPTEST_CASES` says, or 2000.
fn config() -> Config {
    let default = Config::default();
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default.cases,
        None => 2000,
    };
    Config {
        cases,
        max_shrink_iters: 20_000,
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
        operation(composition.parts.len()).boxed()
    }

    fn apply(composition: Composition, _: &Operation) -> Composition {
        composition
    }
}

/// One host: the sources, and the process that uses them.
struct Machine {
    composition: Composition,
    sources: Vec<Source>,
    process: Option<Process>,
}

/// Dropping it ends all of its tasks where they are.
struct Process {
    cache: LayerCache,
    runtime: Runtime,
}

impl Process {
    fn start(composition: &Composition, sources: &[Source]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let cache = cache(composition, sources);
        Self { cache, runtime }
    }
}

impl Machine {
    fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    /// Runs something that must end in time.
    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let bounded = async { timeout(promises::BOUND, work).await };
        let done = self.process().runtime.block_on(bounded);
        done.expect("bounded time: it takes for ever")
    }

    /// Readers at once. What they read is judged by themselves, and what they fail with here.
    fn readers(&self, readers: Vec<Reader>) {
        let proven = promises::proves_pieces(&self.composition);
        let failures = self.run(async {
            let mut tasks = JoinSet::new();
            for reader in readers {
                let cache = self.process().cache.clone();
                tasks.spawn(async move {
                    sleep(Duration::from_millis(reader.start)).await;
                    let about = (
                        reader.action.layer(),
                        matches!(reader.action, Action::Stream { .. }),
                    );
                    let acting = act(&cache, reader.action, proven);
                    let result = match reader.gone {
                        Some(gone) => timeout(Duration::from_millis(gone), acting)
                            .await
                            .unwrap_or(Ok(())),
                        None => acting.await,
                    };
                    (about, result)
                });
            }
            let mut failures = Vec::new();
            while let Some(ended) = tasks.join_next().await {
                match ended {
                    Ok((about, Err(error))) => failures.push((about, error)),
                    Ok((_, Ok(()))) => {}
                    Err(panic) => {
                        // A source that panics in the reader's own call is the reader's panic.
                        let panic = panic.into_panic();
                        let message = panic.downcast_ref::<String>().map_or("", String::as_str);
                        if !message.starts_with("the script says so") {
                            std::panic::resume_unwind(panic);
                        }
                    }
                }
            }
            failures
        });
        for ((layer, streamed), error) in failures {
            promises::error_is_fair(&self.composition, &self.sources, layer, streamed, &error);
        }
    }

    fn flush(&self) {
        self.run(self.process().cache.flush());
        for layer in 0..LAYERS.len() {
            assert_eq!(self.process().cache.fill_progress(&digest_of(layer)), None);
        }
        // What was given up is cleaned up by then as well.
        promises::nothing_is_left_over(&self.sources);
    }
}

/// One reader. Wrong bytes panic.
async fn act(cache: &LayerCache, action: Action, proven: bool) -> Result<()> {
    match action {
        Action::Read { layer, offset, len } => {
            let read = cache
                .get(&descriptor_of(layer))
                .await?
                .read_bytes(offset, len)
                .await?;
            promises::bytes_are_right(layer, offset, &read, Some(len));
        }
        Action::ReadLater { layer, seconds } => {
            let reader = cache.get(&descriptor_of(layer)).await?;
            sleep(Duration::from_secs(seconds)).await;
            let read = reader.read_bytes(0, LAYERS[layer] + 1).await?;
            promises::bytes_are_right(layer, 0, &read, Some(LAYERS[layer] + 1));
        }
        Action::Stream {
            layer,
            offset,
            pieces,
        } => {
            let mut stream = cache.get(&descriptor_of(layer)).await?.stream(offset);
            let mut read = Vec::new();
            let mut count = 0;
            let ended = loop {
                if pieces.is_some_and(|pieces| count >= pieces) {
                    break Ok(false);
                }
                match stream.try_next().await {
                    Ok(Some(piece)) => {
                        assert!(!piece.is_empty(), "an empty piece");
                        read.extend_from_slice(&piece);
                        count += 1;
                    }
                    Ok(None) => break Ok(true),
                    Err(error) => break Err(error),
                }
            };
            let whole = matches!(ended, Ok(true));
            if proven || whole {
                let wanted = whole.then_some(LAYERS[layer]);
                promises::bytes_are_right(layer, offset, &read, wanted);
            }
            ended?;
        }
        Action::Publish { layer } => match cache.publish(&descriptor_of(layer)).await {
            // No origin is asked, so that none has it says nothing.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // What a tier that cannot tell has is not known without it.
            Err(_) => {}
            Ok(publications) => drop(publications),
        },
    }
    Ok(())
}

impl StateMachineTest for Machine {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(composition: &Composition) -> Self {
        // Pauses are jittered: the same in each run of a case.
        fastrand::seed(7);
        let sources = sources(composition);
        let process = Some(Process::start(composition, &sources));
        Self {
            composition: composition.clone(),
            sources,
            process,
        }
    }

    fn apply(mut machine: Self, _: &Composition, operation: Operation) -> Self {
        match operation {
            Operation::Readers(readers) => machine.readers(readers),
            Operation::Put { source, layer } => {
                if let Some(tier) = machine.sources[source].tier() {
                    tier.put(digest_of(layer), bytes_of(layer));
                }
            }
            Operation::Evict { source, layer } => {
                if let Some(tier) = machine.sources[source].tier() {
                    tier.evict(&digest_of(layer));
                }
            }
            Operation::Wait(seconds) => machine.run(async { sleep(Duration::from_secs(seconds)).await }),
            Operation::Flush => machine.flush(),
            Operation::Restart => {
                machine.process = None;
                promises::nothing_is_left_over(&machine.sources);
                machine.process = Some(Process::start(&machine.composition, &machine.sources));
            }
            Operation::Heal { source } => machine.sources[source].heal(),
        }
        machine
    }

    fn check_invariants(machine: &Self, _: &Composition) {
        promises::committed_is_right(&machine.sources);
        promises::fetches_are_single(&machine.composition, &machine.sources);
    }

    /// In the end everything is healed, and then everything must work.
    fn teardown(machine: Self, _: Composition) {
        machine.sources.iter().for_each(Source::heal);
        // Breakers are closed again by then.
        machine.run(async { sleep(Duration::from_secs(600)).await });
        for layer in 0..LAYERS.len() {
            machine.flush();
            let held = machine.sources.iter().any(|source| source.holds(layer).is_some());
            let reader = Action::Stream {
                layer,
                offset: 0,
                pieces: None,
            };
            // The first operation after an outage may be the probe of a breaker that somebody else's probe holds up.
            let read = machine.run(act(&machine.process().cache, reader, true));
            match read {
                Ok(()) => assert!(held, "layer {layer} is nowhere"),
                Err(error) if held => panic!("promise 3: healed, but: {error:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "promise 7: {error:?}"),
            }
            machine.flush();
            promises::nearer_tiers_are_filled(&machine.composition, &machine.sources, layer);
        }
        promises::committed_is_right(&machine.sources);
        machine.run(machine.process().cache.close());
    }
}

//! Telling a story under many schedules.

use std::path::PathBuf;

use shuttle::scheduler::{
    DfsScheduler, PctScheduler, RandomScheduler, ReplayScheduler, Scheduler,
    UncontrolledNondeterminismCheckScheduler,
};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

/// How many schedules each scheduler tries, where `cargo xtask schedules` says nothing.
const ITERATIONS: usize = 1000;
/// How many orders of the most important events the PCT scheduler looks for: most bugs need two or three.
const DEPTH: usize = 3;
/// How many schedules are replayed, to see that they can be.
const REPLAYED: usize = 20;
/// The most schedules of a story that is to be told under all of them.
const ALL: usize = 1_000_000;

/// Tells the story under random schedules of two kinds: with every choice by chance, and with priorities that change a few times.
/// Or under the one schedule that `LAYERCACHE_SCHEDULE` names, as a failure has left it.
pub fn explore<F: Future<Output = ()> + 'static>(story: fn() -> F) {
    if let Some(schedule) = variable("LAYERCACHE_SCHEDULE") {
        let replay = ReplayScheduler::new_from_file(&schedule).expect("there is no such schedule");
        run(replay, story);
        return;
    }
    let iterations = variable("LAYERCACHE_SCHEDULES").map_or(ITERATIONS, |number| {
        number.parse().expect("a number of schedules")
    });
    run(RandomScheduler::new(iterations), story);
    run(PctScheduler::new(DEPTH, iterations), story);
    let replayed = RandomScheduler::new(REPLAYED.min(iterations));
    run(UncontrolledNondeterminismCheckScheduler::new(replayed), story);
}

/// Tells the story under every schedule there is. It may not wait for time to pass: some schedule would wait for ever.
pub fn exhaust<F: Future<Output = ()> + 'static>(story: fn() -> F) {
    let schedules = run(DfsScheduler::new(Some(ALL), false), story);
    assert!(schedules > 1, "nothing happens at once");
    assert!(schedules < ALL, "the story is too long to be told in every way");
    println!("{schedules} schedules");
}

fn run<F: Future<Output = ()> + 'static>(scheduler: impl Scheduler + 'static, story: fn() -> F) -> usize {
    let mut config = Config::new();
    // Inflating needs more than the default.
    config.stack_size = 512 << 10;
    config.max_steps = MaxSteps::FailAfter(100_000);
    config.silence_warnings = true;
    if let Some(directory) = variable("LAYERCACHE_SCHEDULES_FAILED") {
        config.failure_persistence = FailurePersistence::File(Some(PathBuf::from(directory)));
    }
    Runner::new(scheduler, config).run(move || shuttle::future::block_on(story()))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

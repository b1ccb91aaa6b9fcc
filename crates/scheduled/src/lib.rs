//! Locks, channels, tasks and time under the model checker shuttle, which runs one task at a time, and decides at each *point*
//! which one goes on. With `--cfg shuttle` cache-core is made of them, in place of Tokio's; otherwise this crate is empty.
//!
//! There is a point in front of every operation that another task could notice. Waiting is Tokio's own code: a channel here is
//! Tokio's with a point in front of each operation, so a wake-up that gets lost is one that Tokio would lose. Locks and atomics
//! are shuttle's; every atomic operation counts as sequentially consistent.
//!
//! `explore` and `exhaust` tell a story under many schedules.
#![cfg(shuttle)]
#![allow(missing_docs, reason = "the names are Tokio's, and so is what they do")]

mod channels;
mod explore;
mod tasks;
mod time;
pub mod watch;

pub use shuttle::sync::atomic::{AtomicBool, AtomicU64};
pub use shuttle::sync::{Mutex, MutexGuard, RwLock};

pub use self::channels::{Permit, Semaphore, mpsc, oneshot};
pub use self::explore::{exhaust, explore};
pub use self::tasks::{
    AbortOnDropHandle, Handle, JoinError, JoinHandle, PlannedPanic, consume_budget, spawn, spawn_blocking,
};
pub use self::time::{Elapsed, Instant, sleep, timeout};

/// A point at which another task may go on.
fn point() {
    AtomicBool::new(false).load(std::sync::atomic::Ordering::SeqCst);
}

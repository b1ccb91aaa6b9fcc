//! The same under the model checker shuttle, which runs one task at a time, and decides at each *point* which one goes on.
//!
//! There is a point in front of every operation that another task could notice. What waits is Tokio's own code: a channel here is
//! Tokio's with a point in front of each operation, so a wake-up that gets lost is one that Tokio would lose. Locks and atomics
//! are shuttle's; every atomic operation counts as sequentially consistent.

mod channels;
mod tasks;
mod time;
pub(crate) mod watch;

pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock};

pub(crate) use self::channels::{Semaphore, mpsc, oneshot};
pub(crate) use self::tasks::{
    AbortOnDropHandle, Handle, JoinHandle, PlannedPanic, consume_budget, spawn, spawn_blocking,
};
pub(crate) use self::time::{Instant, sleep, timeout};

/// Where another task may go on.
fn point() {
    AtomicBool::new(false).load(std::sync::atomic::Ordering::SeqCst);
}

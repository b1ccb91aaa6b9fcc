//! What the cache's concurrent code is made of: locks, channels, tasks and time.
//!
//! They are those of the standard library and of Tokio, by their own names. The unit tests that are compiled with `--cfg shuttle` get
//! the same with a scheduler in charge of the order of all events: `cargo xtask schedules` looks for an order that breaks a promise.

#[cfg(not(all(test, shuttle)))]
pub(crate) use self::real::*;
#[cfg(all(test, shuttle))]
pub(crate) use self::scheduled::*;

#[cfg(not(all(test, shuttle)))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
    pub(crate) use std::sync::{Mutex, MutexGuard, RwLock};

    pub(crate) use tokio::runtime::Handle;
    pub(crate) use tokio::sync::{Semaphore, mpsc, oneshot, watch};
    pub(crate) use tokio::task::{JoinHandle, consume_budget, spawn, spawn_blocking};
    pub(crate) use tokio::time::{Instant, sleep, timeout};
    pub(crate) use tokio_util::task::AbortOnDropHandle;
}

#[cfg(all(test, shuttle))]
mod scheduled;

//! What the cache's concurrent code is made of: locks, channels, tasks and time.
//!
//! They are those of the standard library and of Tokio, by their own names. With `--cfg shuttle` they are those of the crate
//! `scheduled`, where a scheduler is in charge of the order of all events: `cargo xtask schedules` looks for an order that
//! breaks a promise.

#[cfg(not(shuttle))]
pub(crate) use self::real::*;
#[cfg(shuttle)]
pub(crate) use scheduled::{
    AbortOnDropHandle, AtomicBool, AtomicU64, Handle, Instant, JoinHandle, Mutex, MutexGuard, RwLock,
    Semaphore, consume_budget, mpsc, oneshot, sleep, spawn, spawn_blocking, timeout, watch,
};

#[cfg(not(shuttle))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
    pub(crate) use std::sync::{Mutex, MutexGuard, RwLock};

    pub(crate) use tokio::runtime::Handle;
    pub(crate) use tokio::sync::{Semaphore, mpsc, oneshot, watch};
    pub(crate) use tokio::task::{JoinHandle, consume_budget, spawn, spawn_blocking};
    pub(crate) use tokio::time::{Instant, sleep, timeout};
    pub(crate) use tokio_util::task::AbortOnDropHandle;
}

//! Time is what the scheduler makes of it: a short wait may end at any moment, a long one ends after everything else.
//!
//! So whatever can happen while a pause lasts does happen in some schedule, and nobody gives up waiting because the others
//! were slow: a wait for what never comes is a deadlock, which shuttle reports.

use std::time::Duration;

/// The longest wait that is short. Pauses and head starts are; time-outs are there for failures, and longer.
const SHORT: Duration = Duration::from_secs(1);

pub async fn sleep(duration: Duration) {
    if duration > SHORT {
        std::future::pending().await
    }
    shuttle::future::yield_now().await;
}

/// Out of time.
#[derive(Debug)]
pub struct Elapsed;

pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::select! {
        biased;
        output = future => Ok(output),
        () = sleep(duration) => Err(Elapsed),
    }
}

/// All that happens takes no time.
#[derive(Clone, Copy, Debug)]
pub struct Instant;

impl Instant {
    pub fn now() -> Self {
        Self
    }

    pub fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

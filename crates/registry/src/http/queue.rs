//! How many requests a host gets at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cache_core::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How many hosts' queues are remembered while nobody is in them.
const MAX_IDLE: usize = 1024;

/// A queue per host.
#[derive(Debug)]
pub(super) struct Queues {
    places: usize,
    patience: Duration,
    /// A std mutex: it is held for a look-up and never across an await.
    by_host: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Queues {
    /// Queues with this many places at once, in which nobody waits longer than `patience`.
    pub(super) fn new(places: usize, patience: Duration) -> Self {
        Self {
            places: places.clamp(1, Semaphore::MAX_PERMITS),
            patience,
            by_host: Mutex::default(),
        }
    }

    /// Waits for a place among the requests to `host`. It is given up by dropping the permit.
    pub(super) async fn permit(&self, host: &str) -> Result<OwnedSemaphorePermit> {
        let queue = {
            let mut queues = self.by_host.lock().unwrap_or_else(PoisonError::into_inner);
            if queues.len() >= MAX_IDLE {
                queues.retain(|_, queue| Arc::strong_count(queue) > 1);
            }
            let queue = queues.entry(host.to_owned());
            Arc::clone(queue.or_insert_with(|| Arc::new(Semaphore::new(self.places))))
        };
        let waited = timeout(self.patience, queue.acquire_owned()).await;
        waited.ok().and_then(Result::ok).ok_or_else(|| {
            Error::unavailable(format!("no other request to {host} ended in {:?}", self.patience))
        })
    }
}

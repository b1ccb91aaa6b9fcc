//! A bound on how much a source is asked to do at once.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::guarded::Guarded;
use super::policy::{Answer, Operation, Policy};
use crate::{Error, LayerSource, Result};

/// A source that has only so many operations under way at once; more wait for a place, first come, first served.
///
/// - A stream or list has a place while its next item is awaited, not while the consumer is busy with the last one; a
///   writer while it writes, commits or aborts, not in between. So a fill that reads and writes the same source, one
///   after the other, needs one place only.
/// - `create` takes no place: it may wait for a writer of the same layer, which needs places to get done.
///
/// The wait is as long as those in front take; bound these with a [`Timeout`](crate::guard::Timeout) inside.
pub type Limit<S> = Guarded<S, Places>;

/// The places of a [`Limit`]; clones are the same places.
#[derive(Clone, Debug)]
pub struct Places(Arc<Semaphore>);

impl Places {
    /// `count` places; at least one.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// How many places are free now.
    pub fn free(&self) -> usize {
        self.0.available_permits()
    }
}

impl<S: LayerSource> Limit<S> {
    /// Gives `inner` at most `count` operations at once, and at least one.
    pub fn new(inner: S, count: usize) -> Self {
        Self::with_policy(inner, Places::new(count))
    }
}

impl Policy for Places {
    async fn run<T: Answer>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        if operation == Operation::Create {
            return work.await;
        }
        let place = self.0.acquire().await;
        // Nobody closes the semaphore.
        let _place = place.map_err(|closed| Error::unavailable("no place is left").caused_by(closed))?;
        work.await
    }
}

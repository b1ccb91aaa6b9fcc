//! A bound on how long a source is waited for.

use std::time::Duration;

use super::guarded::Guarded;
use super::policy::{Answer, Operation, Policy};
use crate::{Error, LayerSource, Result};

/// A source that is waited for no longer than [`TimeoutConfig`] says: then what it was doing is dropped, which cancels
/// it, and the operation fails with [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
///
/// A read without [`random_access`](crate::LayerReader::random_access) may cost the whole layer, so an origin is
/// better bounded by its own time-outs.
pub type Timeout<S> = Guarded<S, TimeoutConfig>;

/// How long each operation may take.
///
/// Time that the consumer of a stream takes between two pieces does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutConfig {
    /// For `open`, `remove`, `abort`, one `read_at`, one `write`: 10 s by default. It has to suffice for as many bytes as
    /// are read or written at once: a chunk, or a part of a large object.
    pub operation: Duration,
    /// Until the first and between two pieces of a stream, or layers of a list: 10 s by default.
    pub idle: Duration,
    /// For `commit`, in which a store sends its last bytes and may put a large object together: 2 min by default.
    pub commit: Duration,
    /// For `create`; without limit by default. It may wait for somebody else's fill of the layer, for as long as that one
    /// makes progress, and only the tier can tell that from a stall.
    pub create: Option<Duration>,
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self {
            operation: Duration::from_secs(10),
            idle: Duration::from_secs(10),
            commit: Duration::from_secs(120),
            create: None,
        }
    }
}

impl TimeoutConfig {
    fn of(&self, operation: Operation) -> Option<Duration> {
        match operation {
            Operation::Open | Operation::Read | Operation::Write | Operation::Abort | Operation::Remove => {
                Some(self.operation)
            }
            Operation::Stream | Operation::List => Some(self.idle),
            Operation::Commit => Some(self.commit),
            Operation::Create => self.create,
        }
    }
}

impl<S: LayerSource> Timeout<S> {
    /// Bounds how long `inner` is waited for.
    pub fn new(inner: S, config: TimeoutConfig) -> Self {
        Self::with_policy(inner, config)
    }
}

impl Policy for TimeoutConfig {
    async fn run<T: Answer>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let Some(limit) = self.of(operation) else {
            return work.await;
        };
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            let limit = limit.as_secs_f64();
            Err(Error::unavailable(format!("no answer within {limit} s")))
        })
    }
}

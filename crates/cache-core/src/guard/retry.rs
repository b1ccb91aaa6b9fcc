//! Asking a source again.

use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;

use super::backoff::pause;
use super::breaker::was_refused;
use super::guarded::Guarded;
use super::policy::{Answer, Operation, Policy, Repeatable};
use crate::metrics::{OPERATION, RETRIES, TIER};
use crate::{Error, ErrorKind, LayerSource, Result};

/// A source that is asked again when it was [`ErrorKind::Unavailable`], after a pause.
///
/// - Repeated are `open`, `read_at` and `remove`, which do no harm when repeated. A `remove` whose answer was lost
///   says `false` of the layer that it has removed.
/// - A stream goes on at the offset it has reached, if the source claims
///   [`Capabilities::verified`](crate::Capabilities::verified). Else only a new stream from the beginning would prove the
///   bytes that were handed out, so it is repeated before its first piece only.
/// - Not repeated are `list`, and `create`, `write`, `commit` and `abort`: a fill that fails is started over as a whole.
/// - Nothing that a [`Breaker`](super::Breaker) inside refused is repeated: it will say the same for longer.
pub type Retry<S> = Guarded<S, Repeating>;

/// How often and when a source is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryConfig {
    /// How often a source is asked in all; 3 by default, at least 1. A stream has so many without a piece in between.
    pub attempts: u32,
    /// The first pause: a random time up to this one, at least its half; 100 ms by default. It doubles with each attempt.
    pub pause: Duration,
    /// The longest pause; 2 s by default.
    pub max_pause: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: 3,
            pause: Duration::from_millis(100),
            max_pause: Duration::from_secs(2),
        }
    }
}

/// The policy of a [`Retry`].
#[derive(Clone, Debug)]
pub struct Repeating {
    config: RetryConfig,
    repeated: Arc<Repeated>,
}

impl<S: LayerSource> Retry<S> {
    /// Asks `inner` again when that may help.
    pub fn new(inner: S, config: RetryConfig) -> Self {
        let repeated = Arc::new(Repeated::new(inner.name()));
        Self::with_policy(inner, Repeating { config, repeated })
    }
}

impl Policy for Repeating {
    async fn run<T: Answer>(&self, _: Operation, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        work.await
    }

    async fn repeat<W: Repeatable>(&self, operation: Operation, mut work: W) -> Result<W::Output> {
        let mut failed = 0;
        loop {
            let error = match work.run().await {
                Ok(output) => return Ok(output),
                Err(error) => error,
            };
            failed += 1;
            if !work.can_repeat() || !helps(&error) || failed >= self.config.attempts {
                return Err(error);
            }
            tracing::debug!(%error, failed, "asking a source again");
            self.repeated.count(operation);
            let RetryConfig {
                pause: first,
                max_pause,
                ..
            } = self.config;
            tokio::time::sleep(pause(first, max_pause, failed - 1)).await;
        }
    }
}

/// Whether repeating an operation that failed with this may help.
fn helps(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && !was_refused(error)
}

/// Counts what is repeated, for the metrics.
#[derive(Debug)]
struct Repeated {
    open: Counter,
    read: Counter,
    stream: Counter,
    remove: Counter,
}

impl Repeated {
    fn new(tier: &str) -> Self {
        let of = |operation: Operation| RETRIES.counter(&[(TIER, tier), (OPERATION, operation.name())]);
        Self {
            open: of(Operation::Open),
            read: of(Operation::Read),
            stream: of(Operation::Stream),
            remove: of(Operation::Remove),
        }
    }

    fn count(&self, operation: Operation) {
        let counter = match operation {
            Operation::Open => &self.open,
            Operation::Read => &self.read,
            Operation::Stream => &self.stream,
            Operation::Remove => &self.remove,
            // Never repeated.
            Operation::Create | Operation::Write | Operation::Commit | Operation::Abort | Operation::List => {
                return;
            }
        };
        counter.increment(1);
    }
}

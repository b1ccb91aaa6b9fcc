//! A tier that is not ours to change.

use super::guarded::Guarded;
use super::policy::{Answer, Operation, Policy};
use crate::{Capabilities, Error, LayerSource, Result};

/// A tier that can be read and listed only: `create` and `remove` are
/// [`ErrorKind::Permanent`](crate::ErrorKind::Permanent) errors.
///
/// [`Capabilities::read_while_write`] is off, as nothing is written; the others are those of the tier.
pub type ReadOnly<S> = Guarded<S, Refusal>;

/// The policy of a [`ReadOnly`] tier.
#[derive(Clone, Copy, Debug)]
pub struct Refusal;

impl<S: LayerSource> ReadOnly<S> {
    /// Reads and lists `inner`.
    pub fn new(inner: S) -> Self {
        Self::with_policy(inner, Refusal)
    }
}

impl Policy for Refusal {
    async fn run<T: Answer>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        match operation {
            // No other operation changes anything without a claim.
            Operation::Create | Operation::Remove => Err(Error::permanent("the tier is read-only")),
            _ => work.await,
        }
    }

    fn capabilities(&self, inner: Capabilities) -> Capabilities {
        Capabilities {
            read_while_write: false,
            ..inner
        }
    }
}

//! What a guard decides: [`Policy`].

use std::fmt::Debug;

use crate::Result;

/// What a source is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`LayerSource::open`](crate::LayerSource::open).
    Open,
    /// [`LayerReader::read_at`](crate::LayerReader::read_at).
    Read,
    /// The next piece of a [`LayerReader::stream`](crate::LayerReader::stream).
    Stream,
    /// [`Tier::create`](crate::Tier::create). The one operation that may take long in a healthy tier: it waits while
    /// somebody else fills the layer.
    Create,
    /// [`LayerWriter::write`](crate::LayerWriter::write).
    Write,
    /// [`LayerWriter::commit`](crate::LayerWriter::commit).
    Commit,
    /// [`LayerWriter::abort`](crate::LayerWriter::abort).
    Abort,
    /// [`Tier::remove`](crate::Tier::remove).
    Remove,
    /// The next layer of a [`Tier::list`](crate::Tier::list).
    List,
}

impl Operation {
    /// As errors name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Stream => "stream",
            Self::Create => "create",
            Self::Write => "write",
            Self::Commit => "commit",
            Self::Abort => "abort",
            Self::Remove => "remove",
            Self::List => "list",
        }
    }
}

/// When and for how long the operations of a source may run. [`Guarded`](crate::guard::Guarded) asks it about each one.
///
/// A clone is the same policy: what it remembers it shares with its clones, which are held by readers and writers.
///
/// # Contract
/// - `run` runs `work` at most once, and returns what came of it or an error of its own.
/// - Dropping the future drops `work`, and leaves nothing taken.
pub trait Policy: Clone + Debug + Send + Sync + 'static {
    /// Runs one operation. A stream or list is one operation for each item that is awaited, and none in between.
    ///
    /// # Errors
    /// Those of `work` and of the policy. These need not name a place.
    fn run<T: Send>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send;
}

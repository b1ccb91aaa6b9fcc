//! What a guard decides: [`Policy`].

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Capabilities, Claim, LayerReader, LayerStat, Probe, Result};

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

/// When, for how long and how often the operations of a source run. [`Guarded`](super::Guarded) asks it about each one.
///
/// A clone is the same policy: what it remembers it shares with its clones. There is one for each reader and writer.
///
/// # Contract
/// - `run` runs `work` at most once, and returns what came of it or an error of its own.
/// - Dropping the future drops `work`, and leaves nothing taken.
pub trait Policy: Clone + Debug + Send + Sync + 'static {
    /// Runs one operation. A stream or list is one operation for each item that is awaited, and none in between.
    ///
    /// # Errors
    /// Those of `work` and of the policy. These need not name a place.
    fn run<T: Answer>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send;

    /// Runs one operation that may be run again after it has failed: `open`, `read_at`, `remove`, or the next piece of a
    /// stream. Without a definition of its own, a policy runs it once.
    ///
    /// # Errors
    /// Those of `work`, of its last run, and of the policy.
    fn repeat<W: Repeatable>(
        &self,
        operation: Operation,
        mut work: W,
    ) -> impl Future<Output = Result<W::Output>> + Send {
        async move { self.run(operation, work.run()).await }
    }

    /// The capabilities of a source that can do `inner` and is used as the policy says. Without a definition of its own, a
    /// policy takes nothing away.
    fn capabilities(&self, inner: Capabilities) -> Capabilities {
        inner
    }
}

/// An operation that can be run several times.
pub trait Repeatable: Send {
    /// The result of a run that went well.
    type Output: Answer;

    /// Runs it: from its beginning, or a stream from where it has got to.
    fn run(&mut self) -> impl Future<Output = Result<Self::Output>> + Send;

    /// Whether it may be run again, now that it has failed.
    fn can_repeat(&self) -> bool;
}

/// The result of an operation that went well.
pub trait Answer: Send {
    /// The kind of answer, for policies that count.
    fn answered(&self) -> Answered;
}

/// What an operation has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The layer is there.
    Found,
    /// The layer is known to be absent.
    Absent,
    /// The layer is to be written.
    Claimed,
    /// So many bytes of the layer were read.
    Bytes(u64),
    /// A layer of so many bytes was committed.
    Committed(u64),
    /// The stream or list is at its end.
    End,
    /// It is done, and there is nothing to tell of it.
    Done,
}

impl Answer for Option<Arc<dyn LayerReader>> {
    fn answered(&self) -> Answered {
        match self {
            Some(_) => Answered::Found,
            None => Answered::Absent,
        }
    }
}

impl Answer for Probe {
    fn answered(&self) -> Answered {
        match self {
            Self::Present(_) => Answered::Found,
            Self::Absent | Self::Refused(_) => Answered::Absent,
            Self::Unverified | Self::NotAsked => Answered::Done,
        }
    }
}

impl Answer for Claim {
    fn answered(&self) -> Answered {
        match self {
            Self::Exists(_) => Answered::Found,
            Self::Write(_) => Answered::Claimed,
        }
    }
}

/// The length of a read.
impl Answer for usize {
    fn answered(&self) -> Answered {
        Answered::Bytes(*self as u64)
    }
}

/// A piece of a stream.
impl Answer for Option<Bytes> {
    fn answered(&self) -> Answered {
        match self {
            Some(piece) => Answered::Bytes(piece.len() as u64),
            None => Answered::End,
        }
    }
}

/// A layer of a list.
impl Answer for Option<LayerStat> {
    fn answered(&self) -> Answered {
        match self {
            Some(_) => Answered::Done,
            None => Answered::End,
        }
    }
}

/// Whether a layer was removed.
impl Answer for bool {
    fn answered(&self) -> Answered {
        Answered::Done
    }
}

impl Answer for () {
    fn answered(&self) -> Answered {
        Answered::Done
    }
}

//! What a source does instead of what it should.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::{Error, ErrorKind, Result};

use super::process::Process;

/// What can meet trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// `LayerSource::open`
    Open,
    /// `LayerReader::read_at`
    Read,
    /// `LayerReader::stream`, once for each stream.
    Stream,
    /// `Tier::create`
    Create,
    /// `LayerWriter::write`
    Write,
    /// `LayerWriter::commit`
    Commit,
    /// `Tier::remove`
    Remove,
    /// `Leases::acquire`
    Acquire,
    /// `Lease::renew`
    Renew,
    /// `Lease::release`
    Release,
}

impl Step {
    /// Those of sources.
    pub const OF_SOURCES: [Self; 7] = [
        Self::Open,
        Self::Read,
        Self::Stream,
        Self::Create,
        Self::Write,
        Self::Commit,
        Self::Remove,
    ];
    /// Those of leases.
    pub const OF_LEASES: [Self; 3] = [Self::Acquire, Self::Renew, Self::Release];
}

/// What goes wrong in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// An error, and nothing has happened.
    Fail(ErrorKind),
    /// Everything has happened, but the answer is lost: an `Unavailable` error.
    LoseAnswer,
    /// No answer for as long as the source itself waits for one, half a minute; then an `Unavailable` error.
    Stall,
    /// All goes well, but only after so many seconds.
    Delay(u8),
    /// A bug.
    Panic,
    /// The layer, or the lease, vanishes before the call, as if evicted.
    Vanish,
    /// What is committed now is lost when its host goes down.
    Unsynced,
    /// What is claimed now takes so many bytes: an `Unavailable` error from there on.
    FullAt(u64),
    /// The bytes from this offset on do not come: an `Unavailable` error.
    CutAt(u64),
    /// The byte at this offset is wrong. A source that verifies notices.
    FlipAt(u64),
}

/// The troubles of one source, and how long its calls take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// What each call of a step meets: the first call takes the first entry. When they are used up, nothing goes wrong.
    pub troubles: BTreeMap<Step, Vec<Option<Trouble>>>,
    /// How long calls take, in milliseconds, one after another and then from the beginning: decides which of several calls comes first.
    pub pace: Vec<u16>,
}

impl Script {
    /// Whether anything goes wrong in it.
    pub fn has_trouble(&self) -> bool {
        self.any(|_| true)
    }

    /// Whether such a trouble is in it.
    pub fn any(&self, wanted: impl Fn(&Trouble) -> bool) -> bool {
        self.all().any(wanted)
    }

    /// How long all of it keeps whoever calls.
    pub fn duration(&self) -> Duration {
        self.all().map(Trouble::duration).sum()
    }

    fn all(&self) -> impl Iterator<Item = &Trouble> {
        self.troubles.values().flatten().flatten()
    }
}

/// A script that is being played.
#[derive(Debug)]
pub(crate) struct Play(Mutex<Progress>);

#[derive(Debug)]
struct Progress {
    troubles: BTreeMap<Step, VecDeque<Option<Trouble>>>,
    pace: Vec<u16>,
    calls: usize,
}

/// How long a source that stalls is waited for by whoever implements it.
const PATIENCE: Duration = Duration::from_secs(30);

impl Trouble {
    /// How long it keeps whoever calls.
    pub fn duration(&self) -> Duration {
        match self {
            Self::Stall => PATIENCE,
            Self::Delay(seconds) => Duration::from_secs((*seconds).into()),
            _ => Duration::ZERO,
        }
    }
}

impl Play {
    pub(crate) fn new(script: Script) -> Self {
        let troubles = script.troubles.into_iter();
        Self(Mutex::new(Progress {
            troubles: troubles.map(|(step, troubles)| (step, troubles.into())).collect(),
            pace: script.pace,
            calls: 0,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn heal(&self) {
        self.lock().troubles.clear();
    }

    /// One call of a step by a process: takes its time, and fails or panics if the script says so. What else goes wrong is for the
    /// caller to do, before its next await.
    pub(crate) async fn call(&self, step: Step, process: &Process) -> Result<Option<Trouble>> {
        process.live().await;
        let (trouble, pause) = {
            let mut progress = self.lock();
            let trouble = progress
                .troubles
                .get_mut(&step)
                .and_then(VecDeque::pop_front)
                .flatten();
            let pause = match progress.pace.len() {
                0 => 0,
                len => progress.pace[progress.calls % len],
            };
            progress.calls += 1;
            (trouble, pause)
        };
        let slow = trouble.as_ref().map_or(Duration::ZERO, Trouble::duration);
        tokio::time::sleep(Duration::from_millis(pause.into()) + slow).await;
        process.live().await;
        match trouble {
            Some(Trouble::Fail(kind)) => Err(Error::new(kind, format!("the script says so ({step:?})"))),
            Some(Trouble::Stall) => Err(Error::unavailable(format!("stalled ({step:?})"))),
            Some(Trouble::Panic) => panic!("the script says so ({step:?})"),
            other => Ok(other),
        }
    }
}

/// What becomes of a result whose answer may be lost.
pub(crate) fn answer<T>(trouble: Option<Trouble>, result: T) -> Result<T> {
    match trouble {
        Some(Trouble::LoseAnswer) => Err(Error::unavailable("the answer was lost")),
        _ => Ok(result),
    }
}

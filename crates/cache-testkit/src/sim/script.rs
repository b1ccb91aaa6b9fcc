//! What a source does instead of what it should.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::{Error, ErrorKind, Result};

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
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::Read,
        Self::Stream,
        Self::Create,
        Self::Write,
        Self::Commit,
        Self::Remove,
    ];
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
    /// A bug.
    Panic,
    /// The layer vanishes before the call, as if evicted.
    Vanish,
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
        self.troubles.values().flatten().flatten().any(wanted)
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

    /// One call of a step: takes its time, and fails or panics if the script says so. What else goes wrong is for the caller to do.
    pub(crate) async fn call(&self, step: Step) -> Result<Option<Trouble>> {
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
        tokio::time::sleep(Duration::from_millis(pause.into())).await;
        match trouble {
            Some(Trouble::Fail(kind)) => Err(Error::new(kind, format!("the script says so ({step:?})"))),
            Some(Trouble::Stall) => {
                tokio::time::sleep(PATIENCE).await;
                Err(Error::unavailable(format!("stalled ({step:?})")))
            }
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

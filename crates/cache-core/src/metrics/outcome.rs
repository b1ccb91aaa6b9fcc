//! What came of something, as the metrics tell it.

use crate::{Error, ErrorKind};

/// What came of a request, a fill or a write-back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The layer is there.
    Hit,
    /// The layer is known to be absent.
    Miss,
    /// It is done.
    Ok,
    /// It could not be done, and nothing is known of the layer. A source that denies or does not support it is of no more use, so it
    /// counts as well.
    Unavailable,
    /// Wrong bytes were found, or others than the image claims.
    Corrupt,
    /// What was asked for cannot be: the source is not to be blamed.
    Invalid,
    /// It was not even begun.
    Dropped,
}

impl Outcome {
    pub(crate) const COUNT: usize = 7;

    /// As a label.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Ok => "ok",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
            Self::Invalid => "invalid",
            Self::Dropped => "dropped",
        }
    }
}

impl From<&Error> for Outcome {
    fn from(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Permanent => Self::Unavailable,
            ErrorKind::Corrupt | ErrorKind::Disputed => Self::Corrupt,
            ErrorKind::NotFound | ErrorKind::Invalid => Self::Invalid,
        }
    }
}

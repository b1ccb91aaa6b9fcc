//! Serialises as text what has no form of its own in JSON.

use std::error::Error as StdError;
use std::fmt::Display;
use std::time::{SystemTime, UNIX_EPOCH};

use cache_core::Copying;
use serde::Serializer;

use super::words::error_line;

/// Serialises a value as it is displayed.
pub(super) fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Serialises a value as it is displayed, and none as null.
pub(super) fn text_or_null<S: Serializer>(
    value: &Option<impl Display>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// Serialises each of the values as it is displayed.
pub(super) fn texts_if_any<S: Serializer>(
    values: &Option<Vec<impl Display>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().flatten().map(ToString::to_string))
}

/// Serialises an error with its causes on one line, and none as null.
pub(super) fn error_or_null<S: Serializer>(
    error: &Option<impl StdError + 'static>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match error {
        Some(error) => serializer.serialize_str(&error_line(error)),
        None => serializer.serialize_none(),
    }
}

/// Serialises a way of copying as the configuration names it.
pub(super) fn copying<S: Serializer>(copying: &Copying, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(copying_name(*copying))
}

/// Serialises a way of copying as the configuration names it, and none as null.
pub(super) fn copying_or_null<S: Serializer>(
    value: &Option<Copying>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => copying(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// Names a way of copying as the configuration does.
pub fn copying_name(copying: Copying) -> &'static str {
    match copying {
        Copying::Background => "background",
        Copying::Inline => "inline",
        Copying::Off => "off",
    }
}

/// Returns the seconds since the Unix epoch; `None` for a time before that.
pub(super) fn seconds(time: SystemTime) -> Option<u64> {
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

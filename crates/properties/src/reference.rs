//! What users write to name an image or a platform.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use cache_core::{Error, ErrorKind};
use registry::{ImageLocation, ImageReference, Platform, Repository};

use crate::message::assert_harmless;

/// Parsing never panics, what it accepts prints as text that means the same, and what it refuses is
/// [`Invalid`](ErrorKind::Invalid) in a message of one bounded line.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    round_trip::<ImageReference>(text);
    round_trip::<Repository>(text);
    if let Some(location) = round_trip::<ImageLocation>(text)
        && let ImageLocation::Registry(reference) = location
    {
        assert_eq!(Some(reference), text.parse().ok());
    }
    if let Some(platform) = round_trip::<Platform>(text) {
        assert!(platform.runs(&platform), "{platform} does not run its own images");
    }
}

fn round_trip<T>(text: &str) -> Option<T>
where
    T: FromStr<Err = Error> + Display + Debug + PartialEq,
{
    match text.parse::<T>() {
        Ok(value) => {
            let printed = value.to_string();
            match printed.parse::<T>() {
                Ok(again) => assert_eq!(again, value, "{text:?} prints as {printed:?}"),
                Err(error) => panic!("{text:?} prints as {printed:?}, which is refused: {error}"),
            }
            Some(value)
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text:?}: {error}");
            assert_harmless(&error.to_string());
            None
        }
    }
}

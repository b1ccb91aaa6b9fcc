//! The images that a cache directory remembers, and their pins.

pub(crate) mod record;
pub(crate) mod records;

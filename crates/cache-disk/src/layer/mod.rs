//! A committed layer: found, proven, read and verified.

pub(crate) mod find;
pub(crate) mod index;
pub(crate) mod proof;
pub(crate) mod reader;
pub(crate) mod verify;

//! From a compressed blob to a layer: sniff, inflate, verify.

mod blob;
mod inflater;

pub use blob::BlobReader;
pub use inflater::{InflateLimits, Inflater};

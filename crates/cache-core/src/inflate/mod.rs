//! From a compressed blob to a layer: sniff, inflate, verify.

mod blob;
mod decoder;
mod format;
mod inflater;
mod input;
mod pipeline;
mod reader;
mod stats;

#[cfg(all(test, not(shuttle)))]
mod tests;

pub use blob::{BlobReader, MAX_FETCH_LEN, check_range};
pub use inflater::{InflateLimits, Inflater};
pub use stats::InflateStats;

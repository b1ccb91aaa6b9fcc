//! From a compressed blob to a layer: sniff, inflate, verify.
//!
//! An origin brings a [`BlobReader`]. The [`Inflater`] makes a reader of it (`reader`), which runs a blob through the
//! stages of `pipeline` for each stream and each read, within the bounds that `limits` holds for all of them.

mod blob;
mod inflater;
mod limits;
mod pipeline;
mod reader;
mod stats;

#[cfg(all(test, not(shuttle)))]
mod tests;

pub use blob::{BlobReader, MAX_FETCH_LEN, check_range};
pub use inflater::Inflater;
pub use limits::InflateLimits;
pub use stats::InflateStats;

//! The S3 tier: layers in a bucket of S3, or of a server that speaks its protocol, shared by all workers.
//!
//! A layer is one object, and its index another, which is put last; `keys.rs` draws the format. Reads are ranges of the
//! object, verified against the index. Writes are multipart uploads whose memory is bounded for the tier as a whole.
//!
//! ```no_run
//! # use cache_core::{Digest, LayerDescriptor, LayerReaderExt, LayerSource};
//! # use cache_remote_s3::{S3Config, S3Tier};
//! # async fn example() -> cache_core::Result<()> {
//! let config = S3Config::new("layers").with_region(Some("eu-central-1".into())).with_prefix("prod/".into());
//! let tier = S3Tier::new(config)?;
//! tier.check().await?;
//! let layer = LayerDescriptor::new(Digest::sha256_of(b"blob")).with_diff_id(Digest::sha256_of(b"tar"));
//! if let Some(reader) = tier.open(&layer).await? {
//!     let header = reader.read_bytes(1024, 512).await?;
//! }
//! # Ok(())
//! # }
//! ```

mod bucket;
mod buffers;
mod chunks;
mod client;
mod config;
mod failure;
mod key_pair;
mod keys;
mod list;
mod store;
mod sweep;
mod tier;
mod upload;
mod writer;

pub use config::S3Config;
pub use key_pair::{KeyPair, KeyPairs};
pub use tier::S3Tier;

//! The S3 tier: layers in a bucket of S3, or of a server that speaks its protocol, shared by all workers.
//!
//! A layer is one object, and its index another, which is put last; `keys.rs` draws the format. Reads are ranges of the
//! object, verified against the index. Writes are multipart uploads whose memory is bounded for the tier as a whole.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use cache_core::{LayerCache, LayerReaderExt, LayerSourceExt, MemoryTier};
//! use cache_core::guard::Breaker;
//! use cache_core::index::Seal;
//! use cache_remote_s3::{S3Config, S3Tier};
//!
//! # async fn example(layer: cache_core::LayerDescriptor) -> cache_core::Result<()> {
//! let config = S3Config::new("layers")
//!     .with_region(Some("eu-central-1".into()))
//!     .with_prefix("prod/".into())
//!     .with_seal(Seal::keyed(b"sixteen bytes or more, that the workers share")?);
//! let s3 = S3Tier::new(config)?;
//! s3.check().await?;
//! // Behind a breaker, a server that is down costs three time-outs, and then nothing for a while.
//! let s3 = Breaker::new(s3, Default::default());
//! let cache = LayerCache::builder()
//!     .tier(Arc::new(MemoryTier::new("memory", 1 << 30)))
//!     .tier(Arc::new(s3))
//!     .build()?;
//! let header = cache.get(&layer).await?.read_bytes(1024, 512).await?;
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

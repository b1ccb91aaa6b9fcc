//! The Redis tier: layers that all workers share, in one Redis or in a Redis Cluster.
//!
//! A layer is kept as chunks of 512 KiB and an index that is put last; see [`RedisTier`] for what that promises. The formats are drawn
//! in `keys.rs` and `lease.rs`.
//!
//! TLS is that of rustls, with the provider that the process has installed, or else aws-lc-rs, which is compiled in. Where
//! another provider is compiled in as well, rustls has no choice to make by itself: then the application has to install one
//! (`rustls::crypto::CryptoProvider::install_default`) before the first connection is made.
//!
//! ```no_run
//! # use cache_core::{Digest, LayerDescriptor, LayerSource};
//! # use cache_remote_redis::{RedisConfig, RedisTier};
//! # async fn example() -> cache_core::Result<()> {
//! let tier = RedisTier::new(RedisConfig::new(["redis://redis.example"]))?;
//! let layer = LayerDescriptor::new(Digest::sha256_of(b"blob")).with_diff_id(Digest::sha256_of(b"tar"));
//! if let Some(reader) = tier.open(&layer).await? {
//!     let mut buf = [0; 512];
//!     let read = reader.read_at(1024, &mut buf).await?;
//! }
//! # Ok(())
//! # }
//! ```

mod chunks;
mod cleanup;
mod commit;
mod config;
mod connection;
mod failure;
mod find;
mod keys;
mod lease;
mod list;
mod remove;
mod server_urls;
mod servers;
mod tier;
mod upload;
mod writer;

pub use config::RedisConfig;
pub use server_urls::ServerUrls;
pub use tier::RedisTier;

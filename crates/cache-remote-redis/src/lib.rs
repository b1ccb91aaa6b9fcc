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
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use cache_core::{LayerCache, LayerReaderExt, LayerSourceExt, MemoryTier, SourceOptions};
//! use cache_core::guard::Breaker;
//! use cache_remote_redis::{RedisConfig, RedisTier};
//!
//! # async fn example(layer: cache_core::LayerDescriptor) -> cache_core::Result<()> {
//! let config = RedisConfig::new(["rediss://worker:password@redis.example"])
//!     .with_ttl(Some(Duration::from_secs(36 * 3600)))
//!     .with_timeout(Duration::from_secs(2));
//! let redis = RedisTier::new(config)?;
//! redis.check().await?;
//! // With its leases, one worker fetches a layer that none has, and the others wait for it.
//! let options = SourceOptions::default().with_leases(redis.leases());
//! let redis = Breaker::new(redis, Default::default());
//! let cache = LayerCache::builder()
//!     .tier(Arc::new(MemoryTier::new("memory", 1 << 30)))
//!     .tier_with(Arc::new(redis), options)
//!     .build()?;
//! let header = cache.get(&layer).await?.read_bytes(1024, 512).await?;
//! # Ok(())
//! # }
//! ```

mod chunks;
mod cleanup;
mod config;
mod connection;
mod failure;
mod keys;
mod lease;
mod list;
mod server_urls;
mod servers;
mod store;
mod tier;
mod upload;
mod writer;

pub use config::RedisConfig;
pub use server_urls::ServerUrls;
pub use tier::RedisTier;

//! Contracts and composition of a tiered cache of decompressed OCI image layers.
//!
//! A [`LayerSource`] opens layers for reading; a [`Tier`] can also be filled. A [`LayerCache`] composes any sources, in
//! any order, into one: the first that has a layer serves it, and what comes from far away fills the tiers in front.
//! An origin is a source of last resort: it brings a blob, which the [`Inflater`](inflate::Inflater) turns into a layer.
//!
//! At the root is what users of a cache need, and authors of sources and tiers. The rest is in modules: [`guard`] puts
//! time-outs, retries and counters around a source, [`index`] describes a layer's bytes, [`chunked`] reads a store of
//! chunks, [`inflate`] turns blobs into layers, and [`lease`] lets one worker fetch for all.
//!
//! All of it runs on a Tokio runtime with time enabled, of either flavour.
//!
//! ```
//! use std::sync::Arc;
//! use cache_core::index::IndexBuilder;
//! use cache_core::{Claim, Digest, LayerCache, LayerDescriptor, LayerReader, LayerReaderExt};
//! use cache_core::{LayerSourceExt, MemoryTier, Tier};
//!
//! # fn main() -> cache_core::Result<()> {
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let far = Arc::new(MemoryTier::new("far", 1 << 30));
//! let layer = LayerDescriptor::new(Digest::sha256_of(b"blob")).with_diff_id(Digest::sha256_of(b"a tar"));
//! if let Claim::Write(mut writer) = far.create(&layer).await? {
//!     let mut index = IndexBuilder::new(layer.digest.algorithm());
//!     index.update(b"a tar");
//!     writer.write(b"a tar"[..].into()).await?;
//!     writer.commit(&index.finish(layer.digest)).await?;
//! }
//!
//! let near = Arc::new(MemoryTier::new("near", 1 << 20));
//! let cache = LayerCache::builder().tier(near.clone()).source(far).build()?;
//! let reader = cache.get(&layer).await?;
//! assert_eq!(reader.read_bytes(2, 3).await?, "tar");
//! assert_eq!(near.used_bytes(), 5);
//! # Ok(())
//! # })
//! # }
//! ```

pub mod cache;
pub mod chunked;
mod descriptor;
pub mod digest;
mod error;
pub mod guard;
pub mod index;
pub mod inflate;
pub mod lease;
mod memory;
pub mod metrics;
mod runtime;
mod source;
mod tier;
mod verify;

pub use cache::{Copying, LayerCache, SourceOptions};
pub use descriptor::LayerDescriptor;
pub use digest::{Algorithm, Digest};
pub use error::{Error, ErrorKind, Result};
pub use index::LayerIndex;
pub use memory::MemoryTier;
pub use source::{
    ByteStream, Capabilities, LayerReader, LayerReaderExt, LayerSource, LayerSourceExt, Probe, Role,
};
pub use tier::{Claim, LayerStat, LayerWriter, Tier};

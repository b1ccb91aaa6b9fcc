//! The local disk tier: each layer is one file, shared by every process of the host that names the
//! same directory.
//!
//! ```text
//! <dir>/layer-<64 hex>.decompressed   the layer; mode 0444; complete and verified, or not there
//! <dir>/layer-<64 hex>.index          its index (rebuildable)
//! <dir>/layer-<64 hex>.<kind>         a companion of a consumer: see DiskTier::write_companion
//! <dir>/lock/<64 hex>                 per-layer host lock, there while the layer is filled or removed
//! <dir>/lock/quota                    held while a layer is made room for and appears, and while the
//!                                     record of an image changes
//! <dir>/staging/<name>                files being written, where the file system lacks O_TMPFILE
//! <dir>/image/<64 hex>                layers of an image, and its pin: see DiskTier::record_image
//! <dir>/quarantine/<name>             files of wrong layers: see DiskTier::quarantine
//! ```
//! (128 hex digits where the digest is a SHA-512.)
//!
//! The file system is the truth, there is no database: an operator may remove any of these files at
//! any time. The next open is then a miss, and open readers go on.
//!
//! ```
//! use cache_core::index::IndexBuilder;
//! use cache_core::{Claim, Digest, LayerDescriptor, LayerReaderExt, LayerSourceExt, Tier};
//! use cache_disk::DiskConfig;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let root = tempfile::tempdir()?;
//! # let dir = root.path().join("clip");
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let tier = DiskConfig::new(&dir).with_max_bytes(Some(50 << 30)).open()?;
//! let layer = LayerDescriptor::new(Digest::sha256_of(b"blob")).with_diff_id(Digest::sha256_of(b"a tar"));
//! // Another process that fills the layer at this moment is waited for, and then it exists.
//! if let Claim::Write(mut writer) = tier.create(&layer).await? {
//!     let mut index = IndexBuilder::new(layer.digest.algorithm());
//!     index.update(b"a tar");
//!     writer.write(b"a tar"[..].into()).await?;
//!     writer.commit(&index.finish(layer.digest)).await?;
//! }
//! // Every process that opens the directory finds the layer, now and after a restart.
//! let again = DiskConfig::new(&dir).open()?;
//! assert_eq!(again.get(&layer).await?.read_bytes(2, 3).await?, "tar");
//! assert!(dir.join(format!("layer-{}.decompressed", layer.digest.hex())).exists());
//! # Ok(())
//! # })
//! # }
//! ```

mod config;
mod dir;
mod failure;
mod fill;
mod images;
mod layer;
mod meters;
mod space;
mod tier;

pub use config::{DEFAULT_MIN_FREE_BYTES, DiskConfig};
pub use dir::directory::default_dir;
pub use images::record::ImageRecord;
pub use layer::verify::Verification;
pub use space::gc::{GcOptions, GcReport};
pub use space::policy::Standing;
pub use space::usage::{CachedLayer, DiskContents, DiskUsage};
pub use tier::DiskTier;

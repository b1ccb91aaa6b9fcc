//! A tiered cache of decompressed OCI image layers, assembled from a configuration.
//!
//! Each layer of a container image is inflated once, kept as a file on the local disk, and read at any offset at the cost
//! of a `pread`. This crate is the assembly: a [`Config`] names the sources in fallback order, [`Kinds`] knows how to
//! make each, and the result is a [`Stack`]. The parts are crates of their own: [`cache_core`] has the contracts and the
//! composition.
//!
//! ```no_run
//! # #[cfg(all(feature = "disk", feature = "registry"))]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use layercache::{Config, Kinds, Stack, core::LayerReaderExt};
//!
//! let config = Config::parse(
//!     r#"
//!     [[tier]]
//!     kind = "disk"
//!     max_bytes = "50GiB"
//!
//!     [[tier]]
//!     kind = "registry"
//!     "#,
//! )?;
//! let stack = Stack::assemble(&config, &Kinds::builtin())?;
//! let image = stack.resolve(&"debian:12".parse()?, &layercache::registry::Platform::host()).await?;
//! let layer = stack.open(&image.layers[0]).await?;
//! let header = layer.read_bytes(0, 512).await?;
//! let files = stack.open_image(&image.layers).await?;
//! let os_release = files.stat(b"/etc/os-release", layercache::tree::Follow::All)?;
//! stack.cache().close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Where a layer comes from, and what that costs, can be asked beforehand:
//!
//! ```no_run
//! # async fn example(stack: layercache::Stack, layer: layercache::core::LayerDescriptor) {
//! use layercache::Finding;
//!
//! let explanation = stack.explain(&layer).await;
//! for asked in &explanation.asked {
//!     if let Finding::Failed(error) = &asked.finding {
//!         println!("{} would be passed over: {error}", asked.name);
//!     }
//! }
//! if let Some(plan) = &explanation.plan {
//!     let cost = explanation.read_cost(Some(4096..4608));
//!     println!("{} would serve it, and move {:?} bytes for {}", plan.source, cost.moved, cost.asked);
//! }
//! # }
//! ```
//!
//! # Features
//! | feature | what it adds |
//! |---|---|
//! | `disk` (default) | the kind `disk`: a directory on the local disk, shared by the processes of a host |
//! | `registry` (default) | the kind `registry`, and images in OCI layouts and archives |
//! | `redis` | the kind `redis`: a Redis or a Redis Cluster, shared by all workers |
//! | `s3` | the kind `s3`: a bucket of S3 or of what speaks its protocol, shared by all workers |
//! | `metrics` | [`metrics`]: what is counted as Prometheus text. (With any other recorder of the facade `metrics` it is not needed) |
//! | `full` | all of them |
//!
//! TLS is rustls with aws-lc-rs throughout, and needs nothing from an application, unless that compiles another provider of
//! rustls in as well: then it has to install one (`rustls::crypto::CryptoProvider::install_default`) before the first connection
//! of a `redis` tier is made.

mod assembly;
mod config;
mod image;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(all(feature = "disk", feature = "registry"))]
pub mod ops;
mod trees;

pub use assembly::{
    Answer, Asked, Constructor, Explanation, Kinds, KnownTree, Part, Plan, ReadCost, Reading, Shared,
    SourceCheck, SourceReport, Stack,
};
pub use cache_core as core;
pub use cache_core::cache::{Finding, PlannedCopy};
#[cfg(feature = "disk")]
pub use cache_disk as disk;
#[cfg(feature = "redis")]
pub use cache_remote_redis as redis;
#[cfg(feature = "s3")]
pub use cache_remote_s3 as s3;
pub use config::{
    Config, ConfigBuilder, ConfigError, Field, Key, Secret, SecretBytes, SetBy, ShownConfig, ShownSetting,
    ShownTier, Slot, TierConfig,
};
pub use image::ImageHandle;
pub use image_tree as tree;
#[cfg(feature = "registry")]
pub use registry;

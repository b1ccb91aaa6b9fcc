//! Origins of layers: OCI registries, OCI layouts and image archives.
//!
//! An origin is an [`ImageSource`]: it [resolves](ImageSource::resolve) an [`ImageLocation`] to an [`Image`], whose layers
//! any stack of sources with that origin in it can [open](cache_core::LayerSource::open).
//!
//! ```no_run
//! # async fn example() -> cache_core::Result<()> {
//! use std::sync::Arc;
//!
//! use cache_core::{Inflater, LayerReaderExt, LayerSourceExt};
//! use registry::{CredentialFiles, ImageSource, Platform, RegistryConfig, RegistryOrigin};
//!
//! let credentials = Arc::new(CredentialFiles::from_environment());
//! let origin = RegistryOrigin::new(RegistryConfig::default(), credentials, Inflater::default())?;
//! let image = origin.resolve(&"debian:12".parse()?, &Platform::host()).await?;
//! let base = origin.get(&image.layers[0]).await?;
//! let first_header = base.read_bytes(0, 512).await?;
//! # Ok(())
//! # }
//! ```

mod credentials;
mod excerpt;
mod files;
mod http;
mod image;
mod json_object;
mod location;
mod manifest;
mod media_type;
mod platform;
mod reference;
mod repository;
mod resolve;
mod secret;
mod source;
mod stats;

pub use credentials::{Anonymous, CredentialFiles, CredentialProvider, Credentials, StaticCredentials};
pub use files::{DockerArchiveOrigin, LayoutOrigin};
pub use http::{RegistryConfig, RegistryOrigin};
pub use image::Image;
pub use location::ImageLocation;
pub use platform::Platform;
pub use reference::ImageReference;
pub use repository::Repository;
pub use secret::Secret;
pub use source::ImageSource;
pub use stats::OriginStats;

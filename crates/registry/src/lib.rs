//! Origins of layers: OCI registries, OCI layouts and image archives.
//!
//! An origin is an [`ImageSource`]: it [resolves](ImageSource::resolve) an [`ImageLocation`] to an [`Image`], whose layers
//! any stack of sources with that origin in it can [open](cache_core::LayerSource::open).
//!
//! ```no_run
//! # async fn example() -> cache_core::Result<()> {
//! use std::sync::Arc;
//!
//! use cache_core::{LayerReaderExt, LayerSourceExt};
//! use cache_core::inflate::Inflater;
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
//!
//! An image in a directory, as `skopeo copy docker://debian:12 oci:DIR` makes one, is read in the same way:
//!
//! ```
//! use cache_core::{LayerReaderExt, LayerSourceExt};
//! use cache_core::inflate::Inflater;
//! use registry::{ImageSource, LayoutOrigin, Platform};
//!
//! # use cache_core::Digest;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! # std::fs::create_dir_all(dir.join("blobs/sha256"))?;
//! # let blob = |kind: &str, bytes: &str| {
//! #     let digest = Digest::sha256_of(bytes.as_bytes());
//! #     std::fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
//! #     format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":{}}}"#, bytes.len())
//! # };
//! # let layer = blob("layer.v1.tar", "a tar");
//! # let (host, diff_id) = (Platform::host(), Digest::sha256_of(b"a tar"));
//! # let config = format!(
//! #     r#"{{"os":"{}","architecture":"{}","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#,
//! #     host.os(), host.architecture()
//! # );
//! # let config = blob("config.v1+json", &config);
//! # let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
//! # let manifest = blob("manifest.v1+json", &manifest);
//! # std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
//! # std::fs::write(dir.join("index.json"), format!(r#"{{"schemaVersion":2,"manifests":[{manifest}]}}"#))?;
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let origin = LayoutOrigin::directory(Inflater::default());
//! let image = origin.resolve(&format!("oci:{}", dir.display()).parse()?, &Platform::host()).await?;
//! let layer = origin.get(&image.layers[0]).await?;
//! assert_eq!(layer.read_bytes(2, 3).await?, "tar");
//! # Ok(())
//! # })
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

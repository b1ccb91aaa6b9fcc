//! Origins of layers: OCI registries, OCI layouts and image archives.

mod credentials;
mod excerpt;
mod files;
mod http;
mod image;
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

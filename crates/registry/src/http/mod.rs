//! The `registry` origin: the pull half of the OCI distribution specification.

mod blob;
mod body;
mod challenge;
mod client;
mod config;
mod content_range;
mod endpoint;
mod failure;
mod origin;
mod redirect;
mod retry;
mod token;
mod transport;

pub use config::RegistryConfig;
pub use origin::RegistryOrigin;

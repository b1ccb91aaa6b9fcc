//! The `registry` origin: the pull half of the OCI distribution specification.

mod ask;
mod blob;
mod body;
mod challenge;
mod client;
mod config;
mod content_range;
mod documents;
mod endpoint;
mod failure;
mod mirrors;
mod origin;
mod queue;
mod redirect;
mod retry;
mod token;
mod token_server;
mod transfer;
mod transport;

pub use config::RegistryConfig;
pub use origin::RegistryOrigin;

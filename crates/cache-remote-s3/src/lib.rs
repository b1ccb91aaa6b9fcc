//! The S3 tier: layers in a bucket of S3, or of a server that speaks its protocol, shared by all workers.

mod config;
mod tier;
mod upload;

pub use config::S3Config;
pub use tier::S3Tier;

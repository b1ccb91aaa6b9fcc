//! The Redis tier.

mod config;
mod tier;

pub use config::RedisConfig;
pub use tier::RedisTier;

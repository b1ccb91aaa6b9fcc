//! The configuration: which sources, in which order.
//!
//! `key.rs` is the definition of a key, from which everything else follows: `file.rs` and `tier.rs`
//! read the file, `builder.rs` and `environment.rs` override it, `show.rs` and `example.rs` print it.

mod builder;
mod environment;
mod error;
mod example;
mod file;
mod key;
mod secret;
mod service_link;
mod show;
mod tier;

pub use builder::ConfigBuilder;
pub use error::{ConfigError, SetBy};
pub use file::Config;
pub(crate) use key::{Described, Keys};
pub use key::{Field, Key, Slot};
pub use secret::{Secret, SecretBytes};
pub use show::{ShownConfig, ShownSetting, ShownTier};
pub use tier::TierConfig;

//! Guards around a source that is far away: each is a wrapper over any source or tier, and is one itself.
//!
//! They compose in any order. Around a remote tier this one serves best, from the outside in:
//!
//! ```
//! # use cache_core::{Breaker, BreakerConfig, Limit, MemoryTier, Retry, RetryConfig, Timeout, TimeoutConfig};
//! # let tier = MemoryTier::new("far", 1 << 20);
//! let tier = Timeout::new(tier, TimeoutConfig::default());
//! let tier = Breaker::new(tier, BreakerConfig::default());
//! let tier = Limit::new(tier, 64);
//! let tier = Retry::new(tier, RetryConfig::default());
//! ```
//!
//! A time-out is what the breaker counts; whoever has waited for a place under the limit is refused when the breaker has
//! opened meanwhile, instead of waiting for a time-out of its own; a retry waits without holding a place.

mod backoff;
mod breaker;
mod circuit;
mod guarded;
mod limit;
mod policy;
mod read_only;
mod retry;
mod timeout;

#[cfg(test)]
mod tests;

pub use breaker::{Breaker, BreakerConfig, BreakerHandle, BreakerState};
pub use guarded::Guarded;
pub use limit::{Limit, Places};
pub use policy::{Operation, Policy};
pub use read_only::ReadOnly;
pub use retry::{Retry, RetryConfig};
pub use timeout::{Timeout, TimeoutConfig};

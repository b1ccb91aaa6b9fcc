//! Guards around a source that is far away: each is a wrapper over any source or tier, and is one itself.
//!
//! [`Guarded`] forwards every operation of a source, and of all that the source hands out, to a [`Policy`]. A guard is a
//! policy: [`Timeout`], [`Retry`], [`Breaker`], [`Limit`], [`ReadOnly`], [`Metered`], or one of your own. Guards compose in
//! any order; [`recommended`] puts those of a remote tier in the order that serves best.

mod backoff;
mod breaker;
mod guarded;
mod limit;
mod metered;
mod policy;
mod read_only;
mod recommended;
mod retry;
mod timeout;

#[cfg(all(test, not(shuttle)))]
mod tests;

pub(crate) use backoff::full_pause;
pub use backoff::pause;
pub use breaker::{Breaker, BreakerConfig, BreakerHandle, BreakerState};
pub use guarded::Guarded;
pub use limit::{Limit, Places};
pub use metered::{Metered, Metering, SourceCounts, SourceStats};
pub use policy::{Answer, Answered, Operation, Policy, Repeatable};
pub use read_only::{ReadOnly, Refusal};
pub use recommended::{GuardConfig, Recommended, recommended};
pub use retry::{Repeating, Retry, RetryConfig};
pub use timeout::{Timeout, TimeoutConfig};

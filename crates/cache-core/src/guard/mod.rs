//! Guards around a source that is far away: each is a wrapper over any source or tier, and is one itself.

mod backoff;
mod breaker;
mod circuit;
mod gauges;
mod guarded;
mod limit;
mod policy;
mod read_only;
mod retry;
mod timeout;

#[cfg(all(test, not(shuttle)))]
mod tests;

pub(crate) use backoff::pause;
pub use breaker::{Breaker, BreakerConfig, BreakerHandle, BreakerState};
pub use guarded::Guarded;
pub use limit::{Limit, Places};
pub use policy::{Operation, Policy};
pub use read_only::ReadOnly;
pub use retry::{Retry, RetryConfig};
pub use timeout::{Timeout, TimeoutConfig};

pub use crate::metered::{Metered, SourceCounts, SourceStats};

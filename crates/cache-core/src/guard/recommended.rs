//! The guards of a remote tier, in the order that serves best.

use super::breaker::{Breaker, BreakerConfig};
use super::guarded::Guarded;
use super::limit::Limit;
use super::policy::Policy;
use super::retry::{Retry, RetryConfig};
use super::timeout::TimeoutConfig;
use crate::LayerSource;

/// How a remote tier is guarded.
#[derive(Clone, Debug)]
pub struct GuardConfig<P = TimeoutConfig> {
    /// When an operation is tried again.
    pub retry: RetryConfig,
    /// The time-outs, or another policy that bounds how long all attempts at one operation take together.
    pub timeout: P,
    /// When the tier is left alone.
    pub breaker: BreakerConfig,
    /// How many operations are under way at once; more wait.
    pub concurrency: usize,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            retry: RetryConfig::default(),
            timeout: TimeoutConfig::default(),
            breaker: BreakerConfig::default(),
            concurrency: 64,
        }
    }
}

/// A source behind the guards that [`recommended`] puts around it.
pub type Recommended<S, P = TimeoutConfig> = Limit<Breaker<Guarded<Retry<S>, P>>>;

/// Puts guards around a remote tier in the order that serves best. From the inside out:
///
/// 1. Attempts, for the connection that was reset.
/// 2. Time-outs, which all attempts at one operation share, so that a server that stalls costs one time-out.
/// 3. A breaker, which counts an operation as one failure however often it was tried.
/// 4. A limit, whose places are free for others the sooner the breaker refuses.
///
/// ```
/// # use cache_core::MemoryTier;
/// # use cache_core::guard::{GuardConfig, recommended};
/// # let tier = MemoryTier::new("far", 1 << 20);
/// let tier = recommended(tier, GuardConfig::default());
/// ```
pub fn recommended<S: LayerSource, P: Policy>(source: S, config: GuardConfig<P>) -> Recommended<S, P> {
    let source = Retry::new(source, config.retry);
    let source = Guarded::with_policy(source, config.timeout);
    let source = Breaker::new(source, config.breaker);
    Limit::new(source, config.concurrency)
}

//! One worker of a cluster fetches a layer, and the others wait for what it publishes.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Digest, Result};

/// Leases on layers, which all workers of a cluster see.
///
/// A lease saves work and protects nothing: whoever cannot have one, or loses it, may still fetch the layer itself, and what
/// two workers publish is the same.
///
/// # Contract
/// - Of all workers at most one holds the lease of a layer, but for one that has lost it and does not know yet.
/// - A lease that is not renewed ends after its [lifetime](Lease::lifetime), so that a holder that dies holds up nobody for long.
/// - Every wait is bounded. Dropping a future cancels it; a lease that was then taken unseen ends by itself.
#[async_trait]
pub trait Leases: Debug + Send + Sync + 'static {
    /// Tries to take the lease of a layer, without waiting for it.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when it cannot be told: then the caller does without.
    async fn acquire(&self, layer: &Digest) -> Result<Acquired>;
}

/// What [`Leases::acquire`] came to.
#[derive(Debug)]
pub enum Acquired {
    /// The caller holds it.
    Held(Box<dyn Lease>),
    /// Somebody else does.
    Busy(LeaseHolder),
    /// Somebody has fetched the layer just now, but could not publish it: there is nothing to wait for.
    GivenUp,
}

/// Who holds a lease, as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    /// The fencing token of the lease.
    pub token: u64,
    /// How many bytes of work the holder has told of. While it grows, or the token changes, waiting is worth it.
    pub progress: u64,
}

/// A lease that is held. Dropping it gives it back in the background, as [`Release::Free`].
#[async_trait]
pub trait Lease: Debug + Send + Sync + 'static {
    /// The fencing token: greater than that of every earlier lease.
    fn token(&self) -> u64;

    /// How long it lasts unless it is [renewed](Self::renew).
    fn lifetime(&self) -> Duration;

    /// Makes the lease last for another lifetime, and tells the others how many bytes of work are done; whether it is still held.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when it cannot be told.
    async fn renew(&self, progress: u64) -> Result<bool>;

    /// Gives it back, if it is still held.
    ///
    /// # Errors
    /// When it may not be given back: then it ends by itself.
    async fn release(self: Box<Self>, release: Release) -> Result<()>;
}

/// What whoever gives a lease back tells the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The layer is published, or another worker may have more luck.
    Free,
    /// The layer was fetched but cannot be published: see [`Acquired::GivenUp`]. Remembered for a few seconds.
    GiveUp,
}

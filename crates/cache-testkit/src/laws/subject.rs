//! What the laws are tried on.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::lease::Leases;
use cache_core::{LayerSource, Tier};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Sample;

type Reopen = Box<dyn Fn() -> BoxFuture<'static, Arc<dyn Tier>> + Send + Sync>;

/// A tier under the laws, made of any [`Tier`], with what it needs to live.
pub struct TierSubject {
    pub(super) tier: Arc<dyn Tier>,
    reopen: Option<Reopen>,
    /// Behind the tier: what it is kept in goes last.
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

impl TierSubject {
    /// `tier`, which needs nothing else.
    pub fn new(tier: impl Tier) -> Self {
        Self {
            tier: Arc::new(tier),
            reopen: None,
            _kept: None,
        }
    }

    /// The same with something that is dropped after the tier: its directory, its server.
    #[must_use]
    pub fn keeping(mut self, kept: impl Any + Send + Sync) -> Self {
        self._kept = Some(Box::new(kept));
        self
    }

    /// The same with how to make another handle on the same store, as another process would.
    #[must_use]
    pub fn reopened_by<T: Tier, F: Future<Output = T> + Send + 'static>(
        mut self,
        reopen: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        self.reopen = Some(Box::new(move || {
            let tier = reopen();
            async move { Arc::new(tier.await) as Arc<dyn Tier> }.boxed()
        }));
        self
    }

    /// The same, with the tier behind an `Arc<dyn Tier>` that is a tier itself.
    #[must_use]
    pub fn behind_arc(mut self) -> Self {
        self.tier = Arc::new(self.tier);
        self
    }

    /// Another handle on the same store.
    pub(super) async fn reopened(&self) -> Arc<dyn Tier> {
        let reopen = self.reopen.as_ref();
        reopen.expect("a durable tier says how it is reopened: TierSubject::reopened_by")().await
    }
}

impl<T: Tier> From<T> for TierSubject {
    fn from(tier: T) -> Self {
        Self::new(tier)
    }
}

impl fmt::Debug for TierSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TierSubject").field(&self.tier).finish()
    }
}

/// A source under the laws: one that cannot be filled by them, with the layers that it has.
pub struct SourceSubject {
    pub(super) source: Arc<dyn LayerSource>,
    pub(super) layers: Vec<Sample>,
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

impl SourceSubject {
    /// `source`, which has `layers`: one of several chunks at least.
    pub fn new(source: impl LayerSource, layers: Vec<Sample>) -> Self {
        Self {
            source: Arc::new(source),
            layers,
            _kept: None,
        }
    }

    /// The same with something that is dropped after the source: its directory, its server.
    #[must_use]
    pub fn keeping(mut self, kept: impl Any + Send + Sync) -> Self {
        self._kept = Some(Box::new(kept));
        self
    }

    /// The same, with the source behind an `Arc<dyn LayerSource>` that is a source itself.
    #[must_use]
    pub fn behind_arc(mut self) -> Self {
        self.source = Arc::new(self.source);
        self
    }

    /// The longest of its layers.
    pub(super) fn longest(&self) -> &Sample {
        let longest = self.layers.iter().max_by_key(|layer| layer.len());
        longest.expect("the subject has layers")
    }
}

impl fmt::Debug for SourceSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SourceSubject").field(&self.source).finish()
    }
}

type Worker = Box<dyn Fn(Duration) -> Arc<dyn Leases> + Send + Sync>;

/// Leases under the laws, as any number of workers see them.
pub struct LeaseSubject {
    worker: Worker,
}

impl LeaseSubject {
    /// `worker` makes the leases of one more worker of the same store, which last as long as it is told.
    pub fn new(worker: impl Fn(Duration) -> Arc<dyn Leases> + Send + Sync + 'static) -> Self {
        Self {
            worker: Box::new(worker),
        }
    }

    pub(super) fn worker(&self, lifetime: Duration) -> Arc<dyn Leases> {
        (self.worker)(lifetime)
    }
}

impl fmt::Debug for LeaseSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseSubject").finish_non_exhaustive()
    }
}

//! Filling further tiers, in the background unless a tier wants it otherwise, from a layer that is at hand.

use std::sync::Arc;
use std::time::Duration;

use super::early::EarlyBytes;
use super::entry::Entry;
use super::fill::{Fill, FillError};
use super::hit::Hit;
use super::lease::HeldLease;
use super::meters::FillMeters;
use super::options::Copying;
use super::source_set::SourceSet;
use super::tasks::Tasks;
use crate::guard::full_pause;
use crate::lease::Release;
use crate::metrics::UnderWay;
use crate::runtime::{Semaphore, sleep, spawn};
use crate::{Claim, Error, ErrorKind, LayerDescriptor, LayerReader, Result, Tier};

/// Write-backs at work at once.
const MAX_CONCURRENT: usize = 2;
/// Write-backs at work or waiting; each holds one open layer. More are dropped: the next worker fills the tier.
const MAX_QUEUED: usize = 256;
/// How often a write-back is tried, and how long the first and the longest pause are.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_millis(800);

/// The write-backs of a cache.
#[derive(Debug)]
pub(super) struct WriteBack {
    permits: Arc<Semaphore>,
    tasks: Tasks,
    /// The longest layer that is copied.
    max_len: u64,
}

impl WriteBack {
    /// Nothing is under way. Layers of more than `max_len` bytes are not copied.
    pub(super) fn new(max_len: u64) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(MAX_CONCURRENT)),
            tasks: Tasks::default(),
            max_len,
        }
    }

    /// Fills those of the sources whose positions are in `lacking` from `hit`, or begins to. Returns the tiers that were
    /// filled, or are about to be.
    ///
    /// `lease` is given back once the layer is published at its tier; or at once, where it already is, or is not going to be.
    pub(super) async fn start(
        &self,
        sources: &[Entry],
        layer: &LayerDescriptor,
        hit: &Hit,
        lacking: &[usize],
        mut lease: Option<HeldLease>,
    ) -> SourceSet {
        let mut copied_to = SourceSet::default();
        for &source in lacking {
            let entry = &sources[source];
            let Some(copy) = self.plan_copy(layer, &hit.reader, entry) else {
                continue;
            };
            let job = Job {
                _queued: copy.meters.queued(),
                copy,
                permits: Arc::clone(&self.permits),
                lease: lease.take_if(|lease| lease.source == source),
            };
            if entry.rules.write_back() == Copying::Inline {
                if job.run().await {
                    copied_to.insert(source);
                }
                continue;
            }
            let Some(running) = self.tasks.begin(MAX_QUEUED) else {
                job.copy.meters.dropped();
                let tier = job.copy.tier.name();
                tracing::warn!(tier, digest = %layer.digest, "write-back dropped: the queue is full");
                job.give_up();
                continue;
            };
            copied_to.insert(source);
            spawn(async move {
                let _running = running;
                job.run().await;
            });
        }
        // Dropped, it would have the others try the same, one after the other.
        if let Some(lease) = lease.filter(|lease| lease.source != hit.source) {
            lease.release(Release::GiveUp);
        }
        copied_to
    }

    /// The copy of the layer that `reader` reads to `entry`, if that is a tier.
    fn plan_copy(
        &self,
        layer: &LayerDescriptor,
        reader: &Arc<dyn LayerReader>,
        entry: &Entry,
    ) -> Option<Copy> {
        Some(Copy {
            layer: layer.clone(),
            reader: Arc::clone(reader),
            tier: entry.tier.clone()?,
            meters: entry.meters.clone()?,
            max_len: self.max_len,
        })
    }

    /// Copies the layer that `reader` reads to `entry`, in turn with the write-backs. Returns whether it was not there yet;
    /// `None` if this is no tier.
    pub(super) async fn copy(
        &self,
        layer: &LayerDescriptor,
        reader: &Arc<dyn LayerReader>,
        entry: &Entry,
    ) -> Option<Result<bool>> {
        let copy = self.plan_copy(layer, reader, entry)?;
        Some(self.run(&copy).await)
    }

    async fn run(&self, copy: &Copy) -> Result<bool> {
        let closed = |_| {
            Error::unavailable("the cache is closed")
                .at(copy.tier.name(), "write back")
                .of_layer(&copy.layer.digest)
        };
        let _queued = copy.meters.queued();
        let _permit = self.permits.acquire().await.map_err(closed)?;
        copy.persist(&|_| {}).await
    }

    pub(super) async fn idle(&self) {
        self.tasks.idle().await;
    }
}

/// One tier to be filled, in its turn.
struct Job {
    copy: Copy,
    /// From the queue to the end, whichever that is.
    _queued: UnderWay,
    permits: Arc<Semaphore>,
    lease: Option<HeldLease>,
}

impl Job {
    /// Copies the layer in its turn. Returns whether it was copied: it may be there already.
    async fn run(mut self) -> bool {
        let Ok(_permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return false;
        };
        let persisted = match &self.lease {
            Some(lease) => {
                lease.work().next_stage();
                self.copy.persist(&|written| lease.work().tell(written)).await
            }
            None => self.copy.persist(&|_| {}).await,
        };
        match persisted {
            // Dropping the lease frees it: the workers that wait find the layer.
            Ok(copied) => {
                drop(self.lease.take());
                copied
            }
            Err(error) => {
                tracing::warn!(%error, "write-back given up");
                self.give_up();
                false
            }
        }
    }

    /// Lets no other worker wait any longer for the layer to be published.
    fn give_up(self) {
        if let Some(lease) = self.lease {
            lease.release(Release::GiveUp);
        }
    }
}

/// A layer that is at hand, and the tier that is to have it.
struct Copy {
    layer: LayerDescriptor,
    reader: Arc<dyn LayerReader>,
    tier: Arc<dyn Tier>,
    meters: Arc<FillMeters>,
    max_len: u64,
}

impl Copy {
    /// Tries until the tier has the layer, or says that it never will. Returns whether it was not there yet.
    async fn persist(&self, progress: &(dyn Fn(u64) + Send + Sync)) -> Result<bool> {
        let mut attempt = 1;
        loop {
            match self.write(progress).await {
                Err(error) if error.kind() == ErrorKind::Unavailable && attempt < ATTEMPTS => {
                    tracing::debug!(%error, attempt, "write-back failed");
                    self.meters.tried_again();
                    sleep(full_pause(FIRST_PAUSE, LAST_PAUSE, attempt - 1)).await;
                    attempt += 1;
                }
                result => {
                    self.meters.written_back(&result);
                    return result;
                }
            }
        }
    }

    async fn write(&self, progress: &(dyn Fn(u64) + Send + Sync)) -> Result<bool> {
        let place = |error: Error| {
            error
                .at(self.tier.name(), "write back")
                .of_layer(&self.layer.digest)
        };
        let Claim::Write(writer) = self.tier.create(&self.layer).await.map_err(place)? else {
            return Ok(false);
        };
        let mut early = EarlyBytes::default();
        let fill = Fill::new(&self.layer, &self.reader, self.max_len, &mut early);
        match fill.into(writer, progress).await {
            Ok(_) => Ok(true),
            // A source that fails now is not asked again: the layer it had is gone.
            Err(FillError::Source(error) | FillError::DiffId(error)) => {
                Err(Error::permanent("the layer could not be read").caused_by(error))
            }
            Err(FillError::Tier(error)) => Err(error),
        }
        .map_err(place)
    }
}

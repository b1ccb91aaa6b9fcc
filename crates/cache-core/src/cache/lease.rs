//! The lease of a fill: this worker's turn to ask an origin, or waiting for what another worker publishes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::entry::Entry;
use super::hit::Hit;
use super::tasks::{Running, Tasks};
use crate::guard::pause;
use crate::lease::{Acquired, Lease, LeaseHolder, Leases, Release};
use crate::runtime::{AtomicU64, Instant, oneshot, sleep, spawn, timeout};
use crate::{Digest, LayerDescriptor};

/// How long an answer about a lease may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a holder may make no progress before this worker fetches the layer itself.
const PATIENCE: Duration = Duration::from_secs(15);
/// The pause between two looks at a lease that another worker holds: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// The result of waiting for a lease.
#[derive(Debug)]
pub(super) enum Turn {
    /// This worker holds the lease, and nobody has published the layer.
    Mine(HeldLease),
    /// Another worker has published the layer.
    Published(Hit),
    /// There is nobody to wait for: the layer is fetched without a lease.
    Alone,
}

/// A fill that may need a lease.
#[derive(Debug, Default)]
pub(super) struct Lessee {
    tasks: Tasks,
    work: Arc<Work>,
}

/// How far the work under a lease has come, in bytes. The other workers are told.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Bytes of the stages that are over.
    past: AtomicU64,
    /// Bytes of the present stage.
    present: AtomicU64,
}

impl Work {
    pub(super) fn tell(&self, bytes: u64) {
        self.present.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn next_stage(&self) {
        self.past
            .fetch_add(self.present.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }

    fn bytes(&self) -> u64 {
        self.past.load(Ordering::Relaxed) + self.present.load(Ordering::Relaxed)
    }
}

/// The other worker that holds the lease, as long as this worker waits for it.
#[derive(Debug, Default)]
struct Other(Option<(LeaseHolder, Instant)>);

impl Other {
    /// Returns whether the holder has made no progress for too long.
    fn stalls(&mut self, holder: LeaseHolder, layer: &Digest) -> bool {
        if self.0.is_none() {
            tracing::info!(digest = %layer, "another worker fetches the layer: waiting for it");
        }
        let before = self.0.filter(|(before, _)| *before == holder);
        let since = before.map(|(_, since)| since);
        if since.is_some_and(|since| since.elapsed() >= PATIENCE) {
            tracing::warn!(digest = %layer, "the worker that fetches the layer makes no progress");
            return true;
        }
        self.0 = Some((holder, since.unwrap_or_else(Instant::now)));
        false
    }
}

/// The answer to asking for a lease once.
enum Asked {
    Held(Box<dyn Lease>),
    /// Another worker holds it, and gets on.
    Busy,
    /// There is no lease to be had, or nobody to wait for.
    Alone,
}

async fn ask(leases: &dyn Leases, layer: &Digest, other: &mut Other) -> Asked {
    match timeout(ANSWER_WITHIN, leases.acquire(layer)).await {
        Ok(Ok(Acquired::Held(lease))) => Asked::Held(lease),
        Ok(Ok(Acquired::Busy(holder))) => match other.stalls(holder, layer) {
            true => Asked::Alone,
            false => Asked::Busy,
        },
        Ok(Ok(Acquired::GivenUp)) | Err(_) => Asked::Alone,
        Ok(Err(error)) => {
            tracing::debug!(%error, digest = %layer, "no lease to be had");
            Asked::Alone
        }
    }
}

impl Lessee {
    /// `tasks` counts the lease for as long as it is not given back.
    pub(super) fn new(tasks: &Tasks) -> Self {
        Self {
            tasks: tasks.clone(),
            work: Arc::default(),
        }
    }

    pub(super) fn work(&self) -> &Arc<Work> {
        &self.work
    }

    /// Waits for this worker's turn, or until the layer is published at the tier `source`, for as long as the worker that
    /// holds the lease makes progress.
    pub(super) async fn wait(&self, source: usize, entry: &Entry, layer: &LayerDescriptor) -> Turn {
        let Some(leases) = &entry.options.leases else {
            return Turn::Alone;
        };
        let mut other = Other::default();
        let mut looks = 0;
        loop {
            let mine = match ask(&**leases, &layer.digest, &mut other).await {
                Asked::Held(lease) => self.keep(lease, source),
                Asked::Busy => None,
                Asked::Alone => return Turn::Alone,
            };
            if mine.is_none() {
                sleep(pause(FIRST_PAUSE, LAST_PAUSE, looks)).await;
                looks = looks.saturating_add(1);
            }
            // With the lease held nobody else publishes the layer any more; before, somebody may just have.
            match (entry.source.open(layer).await, mine) {
                (Ok(Some(reader)), _) => return Turn::Published(Hit::at(source, reader)),
                (_, Some(lease)) => return Turn::Mine(lease),
                (Ok(None), None) => {}
                (Err(_), None) => return Turn::Alone,
            }
        }
    }

    fn keep(&self, lease: Box<dyn Lease>, source: usize) -> Option<HeldLease> {
        let (release, released) = oneshot::channel();
        let running = self.tasks.begin(usize::MAX)?;
        spawn(renew(lease, Arc::clone(&self.work), released, running));
        let work = Arc::clone(&self.work);
        Some(HeldLease {
            source,
            work,
            release,
        })
    }
}

/// A lease that is renewed for as long as this lives, and given back then.
#[derive(Debug)]
pub(super) struct HeldLease {
    /// The tier at which the layer is to be published.
    pub(super) source: usize,
    work: Arc<Work>,
    release: oneshot::Sender<Release>,
}

impl HeldLease {
    /// The work that the other workers are told about.
    pub(super) fn work(&self) -> &Work {
        &self.work
    }

    /// Gives the lease back; dropping does it with [`Release::Free`].
    pub(super) fn release(self, release: Release) {
        let _ = self.release.send(release);
    }
}

/// Renews the lease until it is `released`, and gives it back then.
async fn renew(
    lease: Box<dyn Lease>,
    work: Arc<Work>,
    mut released: oneshot::Receiver<Release>,
    _running: Running,
) {
    let every = lease.lifetime() / 3;
    loop {
        tokio::select! {
            // A lease that is to be given back is not renewed once more.
            biased;
            release = &mut released => {
                let release = release.unwrap_or(Release::Free);
                match timeout(ANSWER_WITHIN, lease.release(release)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "lease not given back: it will end by itself"),
                    Err(_) => tracing::debug!("lease not given back in time: it will end by itself"),
                }
                return;
            }
            () = sleep(every) => match timeout(every, lease.renew(work.bytes())).await {
                Ok(Ok(false)) => {
                    tracing::info!(token = lease.token(), "lease lost to another worker");
                    return;
                }
                Ok(Ok(true)) => {}
                Ok(Err(error)) => tracing::debug!(%error, "lease not renewed"),
                Err(_) => tracing::debug!("lease not renewed in time"),
            },
        }
    }
}

//! The hosts, their processes, and all that they share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::Error;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use crate::composition::Composition;
use crate::operation::{Action, Reader};
use crate::promises;
use crate::reading::act;
use crate::sources::{Source, sources};
use crate::worker::Worker;

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) composition: Composition,
    pub(crate) sources: Vec<Source>,
    /// A std mutex: held to copy or replace one of them.
    workers: Mutex<Vec<Worker>>,
    pub(crate) past: Past,
}

/// What was done so far that some promises are not made for.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// A process was killed since all have started.
    pub(crate) killed: AtomicBool,
    /// How many processes were killed.
    pub(crate) deaths: AtomicUsize,
    /// A layer was taken from a tier that keeps it.
    pub(crate) lost: AtomicBool,
    /// A layer was published on request, whoever had it.
    pub(crate) published: AtomicBool,
    /// A layer was taken from a tier, or put there, while somebody was at work.
    pub(crate) disturbed: AtomicBool,
}

/// An error that a reader got: of which layer, and whether it read a stream.
type Failure = (usize, bool, Error);

impl Cluster {
    pub(crate) fn new(composition: &Composition) -> Self {
        Self {
            composition: composition.clone(),
            sources: sources(composition),
            workers: Mutex::default(),
            past: Past::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every process starts.
    pub(crate) fn boot(&self) {
        let hosts = self.composition.hosts.iter();
        let workers = hosts.map(|&host| self.start(host)).collect();
        *self.lock() = workers;
        self.past.killed.store(false, Ordering::Relaxed);
    }

    /// All hosts are down, and what was not synced is lost.
    pub(crate) fn crash(&self) {
        for tier in self.sources.iter().flat_map(Source::tiers) {
            tier.crash();
        }
        self.past
            .deaths
            .fetch_add(self.composition.hosts.len(), Ordering::Relaxed);
    }

    fn start(&self, host: usize) -> Worker {
        Worker::start(
            &self.composition,
            &self.sources,
            0..self.composition.parts.len(),
            host,
        )
    }

    pub(crate) fn workers(&self) -> Vec<Worker> {
        self.workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn worker(&self, process: usize) -> Worker {
        self.lock()[process].clone()
    }

    fn restart(&self, process: usize) {
        let mut workers = self.lock();
        let killed = &mut workers[process];
        killed.process.kill();
        *killed = self.start(killed.process.host());
        self.past.killed.store(true, Ordering::Relaxed);
        self.past.deaths.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until all processes are at rest: then they hold nothing.
    pub(crate) async fn rest(&self) {
        for worker in self.workers() {
            worker.rest().await;
        }
        promises::nothing_is_left_over(&self.sources);
    }

    /// Something is about to be put somewhere, or taken away, by somebody else.
    pub(crate) fn disturb(&self) {
        if !self.workers().iter().all(Worker::is_at_rest) {
            self.past.disturbed.store(true, Ordering::Relaxed);
        }
    }

    /// Readers at once. What they read is judged by themselves, and what they fail with here.
    pub(crate) async fn readers(self: &Arc<Self>, readers: Vec<Reader>) {
        let mut tasks = JoinSet::new();
        for reader in readers {
            let cluster = Arc::clone(self);
            tasks.spawn(async move { cluster.reader(reader).await });
        }
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(Some((layer, streamed, error))) => {
                    promises::error_is_fair(&self.composition, layer, streamed, &error);
                }
                Ok(None) => {}
                Err(panic) => scripted(panic),
            }
        }
    }

    async fn reader(&self, reader: Reader) -> Option<Failure> {
        sleep(Duration::from_millis(reader.start)).await;
        let worker = self.worker(reader.process);
        let proven = promises::proves_pieces(&self.composition);
        let acting = act(&worker, &self.composition.parts, &reader.action, proven);
        let (layer, streamed) = match reader.action {
            Action::Restart => {
                self.restart(reader.process);
                return None;
            }
            Action::Stream { layer, .. } => (layer, true),
            Action::Read { layer, .. } | Action::ReadLater { layer, .. } | Action::Settle { layer } => {
                (layer, false)
            }
            Action::Publish { layer } => {
                self.past.published.store(true, Ordering::Relaxed);
                (layer, false)
            }
            Action::Remove { layer, .. } => {
                self.past.disturbed.store(true, Ordering::Relaxed);
                self.past.lost.store(true, Ordering::Relaxed);
                (layer, false)
            }
        };
        let stays = Duration::from_millis(reader.gone.unwrap_or(u64::MAX));
        let ended = tokio::select! {
            ended = timeout(stays, acting) => ended,
            // Its readers are gone as well.
            () = worker.process.killed() => return None,
        };
        let failed = ended.ok()?.err()?;
        Some((layer, streamed, failed))
    }
}

/// A source that panics in the reader's own call is the reader's panic.
fn scripted(panic: JoinError) {
    let panic = panic.into_panic();
    let message = panic.downcast_ref::<String>().map_or("", String::as_str);
    if !message.starts_with("the script says so") {
        std::panic::resume_unwind(panic);
    }
}

//! Claiming a layer: one task on the host fills it, and all others wait for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use cache_core::{Claim, Digest, Error, ErrorKind, LayerDescriptor, Result};

use crate::dir::directory::Directory;
use crate::dir::handle::Handle;
use crate::dir::lock::{Attempt, FileLock, Holder, LockPatience};
use crate::dir::recovery::{remove_leftovers, report};
use crate::dir::remove::{remove_all_files, sync_removal};
use crate::failure::failure;
use crate::fill::writer::DiskWriter;
use crate::layer::find::Finder;
use crate::space::quota::Quota;

/// How long a busy lock is waited for before the next look: at first, and at most.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LAST_WAIT: Duration = Duration::from_millis(200);

/// Claims layers to be written.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) directory: Arc<Directory>,
    pub(crate) finder: Arc<Finder>,
    pub(crate) quota: Arc<Quota>,
    pub(crate) lock_patience: Duration,
    /// Set once leftovers were looked for.
    pub(crate) recovered: AtomicBool,
}

impl Claims {
    /// Refuses a layer that [`claim`](Self::claim) would refuse at once.
    pub(crate) fn check(&self, layer: &LayerDescriptor) -> Result<()> {
        self.quota.oversize.check_claim(layer)
    }

    /// Claims a layer: waits for a process that fills it, for as long as that makes progress.
    pub(crate) async fn claim(&self, layer: &LayerDescriptor) -> Result<Claim> {
        self.check(layer)?;
        self.recover_once().await?;
        let mut patience = LockPatience::new(self.lock_patience);
        let mut wait = FIRST_WAIT;
        loop {
            let (quota, digest) = (Arc::clone(&self.quota), layer.digest);
            let attempt = self
                .directory
                .run("create", move |dir| lock_layer(&quota, dir, &digest));
            let attempt = attempt.await?;
            // With the lock held nobody commits any more; without it, somebody may just have.
            let damaged = match self.finder.find(layer).await {
                Ok(Some(reader)) => return Ok(Claim::Exists(reader)),
                Ok(None) => false,
                Err(error) if error.kind() == ErrorKind::Corrupt => true,
                Err(error) => return Err(error),
            };
            match attempt {
                Attempt::Held(lock) => return self.begin(layer, lock, damaged).await,
                Attempt::Busy(holder) if patience.is_exhausted_by(holder) => return Err(stalled(holder)),
                Attempt::Busy(_) | Attempt::NoRoom => {}
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LAST_WAIT);
        }
    }

    async fn begin(&self, layer: &LayerDescriptor, lock: FileLock, damaged: bool) -> Result<Claim> {
        let (directory, quota) = (Arc::clone(&self.directory), Arc::clone(&self.quota));
        let layer = layer.clone();
        let writer = self.directory.run("create", move |dir| {
            if damaged {
                remove_all_files(dir, &layer.digest)
                    .and_then(|_| sync_removal(dir))
                    .map_err(|error| failure("remove a layer that is wrong", error))?;
            }
            DiskWriter::begin(&directory, dir, &quota, &layer, lock)
        });
        Ok(Claim::Write(Box::new(writer.await?)))
    }

    /// Looks for all leftovers of dead processes when this tier is written to for the first time.
    async fn recover_once(&self) -> Result<()> {
        if self.recovered.swap(true, Relaxed) {
            return Ok(());
        }
        let recovered = self.directory.run("recover", |dir| {
            report(remove_leftovers(dir));
            Ok(())
        });
        recovered.await
    }
}

/// Tries to take the layer's lock, and makes room for it when the disk has none.
fn lock_layer(quota: &Quota, dir: &Handle, digest: &Digest) -> Result<Attempt> {
    quota.when_full_evict(dir, digest, 1, "lock the layer", || match FileLock::try_acquire(
        dir,
        &digest.hex(),
    )? {
        Attempt::NoRoom => Err(io::ErrorKind::StorageFull.into()),
        attempt => Ok(attempt),
    })
}

fn stalled(holder: Holder) -> Error {
    let quiet = holder
        .heartbeat
        .and_then(|beat| beat.elapsed().ok())
        .unwrap_or_default()
        .as_secs();
    Error::unavailable(format!(
        "{holder} fills the layer, but has made no progress for {quiet} s: read it without caching it"
    ))
}

//! The tier itself: how the parts make up what the contracts ask for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    Capabilities, Claim, Digest, Error, ErrorKind, LayerDescriptor, LayerReader, LayerSource, LayerStat,
    Result, Role, Tier,
};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

use crate::DiskConfig;
use crate::dir::directory::{Directory, Handle};
use crate::dir::layout::{LAYER, file_name};
use crate::dir::lock::{Attempt, FileLock, Holder, Patience};
use crate::dir::recovery::{remove_abandoned, remove_leftovers};
use crate::dir::scan::companions_of;
use crate::failure::{WarnOnce, blocking, failure};
use crate::fill::writer::DiskWriter;
use crate::layer::proof::Proven;
use crate::meters::Meters;
use crate::space::evict::{remove_files, sync_removal};
use crate::space::oversize::Oversize;

/// How long a busy lock is waited for before the next look: at first, and at most.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LAST_WAIT: Duration = Duration::from_millis(200);

/// A cache directory on a local disk, shared by all processes of the host that open it.
///
/// Clones are the same tier. Filling a layer is exclusive on the host: [`create`](Tier::create) waits for whoever fills it
/// already, and then finds it there.
#[derive(Clone, Debug)]
pub struct DiskTier {
    pub(crate) store: Arc<Store>,
}

/// What the parts of the tier share.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) name: Arc<str>,
    pub(crate) config: DiskConfig,
    pub(crate) directory: Directory,
    pub(crate) evicted_layers: AtomicU64,
    pub(crate) meters: Meters,
    pub(crate) proven: Proven,
    pub(crate) oversize: Oversize,
    pub(crate) records_unread: WarnOnce,
    pub(crate) quarantine_unread: WarnOnce,
    /// One layer is hashed at a time: it keeps a processor and a disk busy.
    pub(crate) hashing: Arc<Semaphore>,
    /// One look for the metrics is under way at a time.
    pub(crate) looking: Arc<Semaphore>,
    /// Whether leftovers were looked for.
    recovered: AtomicBool,
}

impl DiskTier {
    /// The default settings for the cache directory `dir`, to be changed and [opened](DiskConfig::open).
    pub fn builder(dir: impl Into<std::path::PathBuf>) -> DiskConfig {
        DiskConfig::new(dir)
    }

    /// Opens the cache directory, which is created if absent, and removes what processes that died in a fill have left; neither of
    /// which is done without [`create`](DiskConfig::create). Takes a few system calls, however many layers there are.
    ///
    /// # Errors
    /// `Permanent` when the directory cannot be created, is a symlink or no directory, belongs to somebody else, is
    /// writable by others, or is not writable by this user. The message says which, and what to do.
    pub fn open(config: DiskConfig) -> Result<Self> {
        let name: Arc<str> = config.name.as_str().into();
        let directory = Directory::open(&config).map_err(|error| error.at(&name, "open the directory"))?;
        if directory.still_there().is_some() {
            tracing::info!(path = %directory.path().display(), "initialized OCI storage with disk cache");
        }
        if config.create {
            // Whoever finds all layers in the cache fills none, and would leave what a killed process has left.
            report(directory.current().and_then(|dir| {
                remove_abandoned(&dir).map_err(|error| failure("remove what nobody holds", error))
            }));
        }
        let store = Store {
            meters: Meters::new(&config),
            name,
            config,
            directory,
            evicted_layers: AtomicU64::new(0),
            proven: Proven::default(),
            oversize: Oversize::default(),
            records_unread: WarnOnce::default(),
            quarantine_unread: WarnOnce::default(),
            hashing: Arc::new(Semaphore::new(1)),
            looking: Arc::new(Semaphore::new(1)),
            recovered: AtomicBool::new(false),
        };
        Ok(Self {
            store: Arc::new(store),
        })
    }

    /// The cache directory.
    pub fn dir(&self) -> &std::path::Path {
        self.store.directory.path()
    }

    /// Whether layers can be kept in the directory, or it can be created for them. Creates nothing.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and when the directory cannot be read.
    pub async fn check(&self) -> Result<()> {
        let store = Arc::clone(&self.store);
        let checked = blocking(move || {
            store.directory.check()?;
            let there = store.directory.still_there();
            there.map_or(Ok(()), |dir| store.scan(&dir).map(drop))
        });
        checked
            .await
            .flatten()
            .map_err(|error| error.at(&self.store.name, "check"))
    }

    /// How many layers this tier has evicted since it was opened.
    pub fn evicted_layers(&self) -> u64 {
        self.store.evicted_layers.load(Relaxed)
    }

    /// Runs one operation on the directory, and names the operation in its error.
    pub(crate) async fn off_the_runtime<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Arc<Store>, &Arc<Handle>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.off_the_runtime_or(operation, |store| Err(store.directory.absent()), work)
            .await
    }

    /// The same of an operation that finds nothing where the directory is not there, and not to be created.
    pub(crate) async fn off_the_runtime_if_there<T: Default + Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Arc<Store>, &Arc<Handle>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.off_the_runtime_or(operation, |_| Ok(T::default()), work)
            .await
    }

    /// The same of an operation that does something else then.
    pub(crate) async fn off_the_runtime_or<T: Send + 'static>(
        &self,
        operation: &'static str,
        absent: impl FnOnce(&Store) -> Result<T> + Send + 'static,
        work: impl FnOnce(&Arc<Store>, &Arc<Handle>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = Arc::clone(&self.store);
        let done = blocking(move || match store.directory.if_there()? {
            Some(dir) => work(&store, &dir),
            None => absent(&store),
        });
        done.await
            .flatten()
            .map_err(|error| error.at(&self.store.name, operation))
    }

    pub(crate) fn place<'a>(
        &'a self,
        operation: &'static str,
        digest: &'a Digest,
    ) -> impl Fn(Error) -> Error + 'a {
        move |error| error.at(&self.store.name, operation).of_layer(digest)
    }

    async fn claim(&self, layer: &LayerDescriptor) -> Result<Claim> {
        self.store.check_claim(layer)?;
        self.recover_once().await?;
        let mut patience = Patience::new(self.store.config.lock_patience);
        let mut wait = FIRST_WAIT;
        loop {
            let digest = layer.digest;
            let attempt = self.off_the_runtime("create", move |store, dir| lock_layer(store, dir, &digest));
            let attempt = attempt.await?;
            // With the lock held nobody commits any more; without it, somebody may just have.
            let damaged = match self.store.find(layer).await {
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
        let layer = layer.clone();
        let writer = self.off_the_runtime("create", move |store, dir| {
            if damaged {
                companions_of(dir, &layer.digest)
                    .and_then(|companions| remove_files(dir, &layer.digest, &companions))
                    .and_then(|_| sync_removal(dir))
                    .map_err(|error| failure("remove a layer that is wrong", error))?;
            }
            DiskWriter::begin(store, &layer, lock)
        });
        Ok(Claim::Write(Box::new(writer.await?)))
    }

    /// Looks for all leftovers of dead processes when this tier is written to for the first time.
    async fn recover_once(&self) -> Result<()> {
        if self.store.recovered.swap(true, Relaxed) {
            return Ok(());
        }
        self.off_the_runtime("recover", |_, dir| {
            report(remove_leftovers(dir));
            Ok(())
        })
        .await
    }
}

/// Space that is not reclaimed is no reason to fail for.
fn report<E: std::fmt::Display>(removed: Result<u64, E>) {
    match removed {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "removed what processes that died had left"),
        Err(error) => tracing::warn!(%error, "could not remove what processes that died have left"),
    }
}

/// Tries to take the layer's lock, for which room is made when the disk has none.
fn lock_layer(store: &Store, dir: &Handle, digest: &Digest) -> Result<Attempt> {
    store.when_full_evict(dir, digest, 1, "lock the layer", || match FileLock::try_acquire(
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

#[async_trait]
impl LayerSource for DiskTier {
    fn name(&self) -> &str {
        &self.store.name
    }

    fn role(&self) -> Role {
        Role::Local
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
            .with_verified()
            .with_read_while_write()
            .with_list()
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let found = self
            .store
            .find(layer)
            .await
            .map_err(self.place("open", &layer.digest))?;
        let Some(reader) = found else { return Ok(None) };
        tracing::debug!(
            digest = %layer.digest,
            path = %self.dir().join(file_name(&layer.digest, LAYER)).display(),
            bytes = reader.len().unwrap_or(0),
            "disk cache hit"
        );
        Ok(Some(reader))
    }
}

#[async_trait]
impl Tier for DiskTier {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        self.claim(layer)
            .await
            .map_err(self.place("create", &layer.digest))
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        let of = *digest;
        self.off_the_runtime_if_there("remove", move |store, dir| {
            store
                .remove_layer(dir, &of)
                .and_then(|removed| sync_removal(dir).map(|()| removed))
                .map_err(|error| failure("remove the layer", error))
        })
        .await
        .map_err(self.place("remove", digest))
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        let tier = self.clone();
        let listed = async move {
            let scanned = tier.off_the_runtime_if_there("list", |store, dir| store.scan(dir));
            let layers = scanned.await?;
            let stats = layers.into_iter().filter_map(|(digest, files)| {
                let (len, last_used) = files.layer?;
                Some(Ok(LayerStat::new(digest, len).with_last_used(last_used)))
            });
            Ok(stream::iter(stats))
        };
        stream::once(listed).try_flatten().boxed()
    }
}

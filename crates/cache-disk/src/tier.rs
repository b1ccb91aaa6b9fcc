//! The tier: how the parts make up what the contracts ask for.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{
    Capabilities, Claim, Digest, Error, LayerDescriptor, LayerIndex, LayerReader, LayerSource, LayerStat,
    Probe, Result, Role, Tier,
};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use crate::config::DiskConfig;
use crate::dir::directory::Directory;
use crate::dir::layout::{LAYER, check_companion_kind, file_name};
use crate::dir::recovery::{remove_abandoned, report};
use crate::dir::remove::{remove_layer, sync_removal};
use crate::dir::scan::scan;
use crate::failure::failure;
use crate::fill::claim::Claims;
use crate::fill::companion;
use crate::images::record::{self, ImageRecord};
use crate::images::records::{self, Records};
use crate::layer::find::{Finder, Look};
use crate::layer::index::read_index;
use crate::layer::verify::{self, Verification};
use crate::meters::Gauges;
use crate::space::evict::Evictor;
use crate::space::gc::{self, GcOptions, GcReport};
use crate::space::quarantine;
use crate::space::quota::Quota;
use crate::space::usage::{DiskContents, DiskUsage, Inventory};

/// A cache directory on a local disk, shared by all processes of the host that open it.
///
/// Clones are the same tier. Filling a layer is exclusive on the host: [`create`](Tier::create)
/// waits for a process that fills it already, and then finds it there.
#[derive(Clone, Debug)]
pub struct DiskTier {
    parts: Arc<Parts>,
}

/// The parts that clones of the tier share.
#[derive(Debug)]
struct Parts {
    directory: Arc<Directory>,
    finder: Arc<Finder>,
    records: Arc<Records>,
    evictor: Arc<Evictor>,
    quota: Arc<Quota>,
    claims: Claims,
    inventory: Arc<Inventory>,
    gauges: Gauges,
}

impl Parts {
    fn new(config: &DiskConfig, directory: Directory) -> Self {
        let directory = Arc::new(directory);
        let finder = Arc::new(Finder::new(&directory));
        let (records, quarantine) = (Arc::default(), Arc::default());
        let evictor = Arc::new(Evictor::new(&config.name, &records, &quarantine));
        let quota = Arc::new(Quota::new(config, &quarantine, &evictor));
        Self {
            claims: Claims {
                directory: Arc::clone(&directory),
                finder: Arc::clone(&finder),
                quota: Arc::clone(&quota),
                lock_patience: config.lock_patience,
                recovered: AtomicBool::new(false),
            },
            inventory: Arc::new(Inventory {
                max_bytes: config.max_bytes,
                min_free_bytes: config.min_free_bytes,
                records: Arc::clone(&records),
                quarantine,
                evictor: Arc::clone(&evictor),
            }),
            gauges: Gauges::new(config),
            directory,
            finder,
            records,
            evictor,
            quota,
        }
    }
}

impl DiskConfig {
    /// Opens a tier with these settings.
    ///
    /// # Errors
    /// The errors of [`DiskTier::open`].
    pub fn open(self) -> Result<DiskTier> {
        DiskTier::open(self)
    }
}

/// The directory and its layers.
impl DiskTier {
    /// Opens the cache directory, which is created if absent, and removes leftovers of processes
    /// that died in a fill. Without [`create`](DiskConfig::create) it does neither. Takes a few
    /// system calls, however many layers there are.
    ///
    /// # Errors
    /// `Permanent` when the directory cannot be created, is a symlink or no directory, belongs to
    /// another user, is writable by others, or is not writable by this user. The message says
    /// which, and how to mend it.
    pub fn open(config: DiskConfig) -> Result<Self> {
        let directory = Directory::open(&config)?;
        if directory.still_there().is_some() {
            tracing::info!(path = %directory.path().display(), "initialized OCI storage with disk cache");
        }
        if config.create {
            // A process that finds all layers in the cache fills none, and would leave the
            // leftovers of a killed one.
            report(directory.current().and_then(|dir| {
                remove_abandoned(&dir).map_err(|error| failure("remove what nobody holds", error))
            }));
        }
        let parts = Parts::new(&config, directory);
        Ok(Self {
            parts: Arc::new(parts),
        })
    }

    /// Returns the cache directory.
    pub fn dir(&self) -> &std::path::Path {
        self.parts.directory.path()
    }

    /// Checks that layers can be kept in the directory, or that it can be created for them. Creates
    /// nothing.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open), and one when the directory cannot be read.
    pub async fn check(&self) -> Result<()> {
        let checked = self.parts.directory.off_the_runtime("check", |directory| {
            directory.check()?;
            let there = directory.still_there();
            there.map_or(Ok(()), |dir| scan(&dir).map(drop))
        });
        checked.await
    }

    /// Returns the index next to a layer, as it was written when the layer was filled; `None` when
    /// it is lost, or never was there. It says what the layer should be: only
    /// [`verify`](Self::verify) shows whether the layer is that.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn index(&self, digest: &Digest) -> Result<Option<LayerIndex>> {
        let of = *digest;
        let directory = &self.parts.directory;
        let read = directory.run_if_there("read the index of", move |dir| read_index(dir, &of));
        let index = read.await.map_err(|error| error.of_layer(digest))?;
        Ok(index
            .map(|(index, _)| index)
            .filter(|index| index.digest() == digest))
    }

    /// Hashes a layer again and compares it with its index. `progress` is told the number of bytes
    /// hashed so far, about once a mebibyte. The layer stays, whatever the outcome; dropping the
    /// future stops the hashing.
    ///
    /// # Errors
    /// `Corrupt` when the layer is not what its index says.
    pub async fn verify(
        &self,
        digest: &Digest,
        mut progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<Verification> {
        let dropped = CancellationToken::new();
        let _guard = dropped.clone().drop_guard();
        let of = *digest;
        let verified = self.parts.directory.run_if_there("verify", move |dir| {
            let verified = verify::verify(dir, &of, &mut |done| {
                progress(done);
                !dropped.is_cancelled()
            });
            verified.map(Some)
        });
        let verified = verified.await.map_err(|error| error.of_layer(digest))?;
        Ok(verified.unwrap_or(Verification::Absent))
    }

    /// Puts a wrong layer into quarantine, with its index, and tells whether there was one. For
    /// readers it is gone, as after [`remove`](Tier::remove). A dropped future may or may not have
    /// done it.
    ///
    /// # Errors
    /// When the layer may still be there, or may come back in a power loss.
    pub async fn quarantine(&self, digest: &Digest) -> Result<bool> {
        let of = *digest;
        let directory = &self.parts.directory;
        let done = directory.run_if_there("quarantine", move |dir| quarantine::quarantine(dir, &of));
        done.await.map_err(|error| error.of_layer(digest))
    }

    /// Tells whether something of a layer is in quarantine. It may have had to make room since it
    /// was put there.
    ///
    /// # Errors
    /// When the quarantine cannot be looked into.
    pub async fn is_quarantined(&self, digest: &Digest) -> Result<bool> {
        let of = *digest;
        let look = move |dir: &Arc<_>| quarantine::is_quarantined(dir, &of);
        let directory = &self.parts.directory;
        let looked = directory.run_if_there("look into the quarantine of", look);
        looked.await.map_err(|error| error.of_layer(digest))
    }

    /// Reads the companion of `kind` of a layer; `None` when there is none. The caller verifies it:
    /// it is as trusted as the cache directory is.
    ///
    /// # Errors
    /// `Corrupt` when it is longer than `max_len` bytes or not a regular file of this user;
    /// `Permanent` when `kind` is not 1 to 32 letters a-z, or is `decompressed` or `index`.
    pub async fn read_companion(&self, digest: &Digest, kind: &str, max_len: usize) -> Result<Option<Bytes>> {
        let operation = "read a companion of";
        let read = async {
            check_companion_kind(kind)?;
            let name = file_name(digest, kind);
            let read = move |dir: &Arc<_>| companion::read(dir, &name, max_len);
            self.parts.directory.run_if_there(operation, read).await
        };
        read.await.map_err(self.place(operation, digest))
    }

    /// Puts a companion of `kind` next to a layer, in place of any that is there, atomically. Does
    /// nothing when the layer is not there. A dropped future may or may not have done it.
    ///
    /// # Errors
    /// `Unavailable` when there is no room; `Permanent` as for
    /// [`read_companion`](Self::read_companion).
    pub async fn write_companion(&self, digest: &Digest, kind: &str, bytes: Bytes) -> Result<()> {
        let operation = "write a companion of";
        let written = async {
            check_companion_kind(kind)?;
            let (quota, of, name) = (Arc::clone(&self.parts.quota), *digest, file_name(digest, kind));
            let write = move |dir: &Arc<_>| companion::write(dir, &quota, &of, &name, &bytes);
            self.parts.directory.run(operation, write).await
        };
        written.await.map_err(self.place(operation, digest))
    }

    fn place<'a>(&'a self, operation: &'static str, digest: &'a Digest) -> impl Fn(Error) -> Error + 'a {
        move |error| error.at(self.name(), operation).of_layer(digest)
    }
}

/// The space that layers take.
impl DiskTier {
    /// Returns how many layers this tier has evicted since it was opened.
    pub fn evicted_layers(&self) -> u64 {
        self.parts.evictor.total()
    }

    /// Measures how much the cache takes. Looks at every file's length.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn usage(&self) -> Result<DiskUsage> {
        let inventory = Arc::clone(&self.parts.inventory);
        let measure = move |directory: &Directory| inventory.usage(directory);
        self.parts.directory.off_the_runtime("usage", measure).await
    }

    /// Measures how much the cache takes, as [`usage`](Self::usage) does, and tells the metrics:
    /// NaN where that is not known within a second, as of a disk that hangs.
    ///
    /// One look is under way at a time. It runs to its end, though nobody waits for it any more,
    /// and the next waits its turn: a disk that hangs keeps one thread, however often this is
    /// called. Dropping the future tells nothing.
    ///
    /// # Errors
    /// When the directory cannot be read, or not in time.
    pub async fn sample_metrics(&self) -> Result<()> {
        let parts = Arc::clone(&self.parts);
        let look = move || parts.inventory.usage(&parts.directory);
        self.parts.gauges.sample(look).await
    }

    /// Lists the layers and images in the cache. Looks at every file, whether a process has it
    /// open, and at the records of images. Others go on meanwhile, and their changes may show in
    /// one part of the answer and not in another. Records that cannot be read are warned of and
    /// left out.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn contents(&self) -> Result<DiskContents> {
        let inventory = Arc::clone(&self.parts.inventory);
        let list = move |directory: &Directory| inventory.contents(directory);
        self.parts.directory.off_the_runtime("contents", list).await
    }

    /// Removes leftovers of processes that died, the quarantine, the layers that `options` say, and
    /// images of which nothing is left. A dropped future stops nothing that was begun.
    ///
    /// # Errors
    /// When the directory cannot be read or written. Some of it may be done then. Records of images
    /// and files in quarantine that cannot be read or removed are only warned of.
    pub async fn gc(&self, options: GcOptions) -> Result<GcReport> {
        let inventory = Arc::clone(&self.parts.inventory);
        let collect = move |dir: &Arc<_>| gc::gc(&inventory, dir, &options);
        self.parts.directory.run_if_there("gc", collect).await
    }

    /// Removes all layers with their companions, leftovers of processes that died, the quarantine,
    /// and the images that are not pinned.
    ///
    /// # Errors
    /// When a layer may still be there.
    pub async fn clear(&self) -> Result<GcReport> {
        let inventory = Arc::clone(&self.parts.inventory);
        let clear = move |dir: &Arc<_>| gc::clear(&inventory, dir);
        self.parts.directory.run_if_there("clear", clear).await
    }
}

/// The images that are remembered.
impl DiskTier {
    /// Lists the images that are remembered, by name and platform. Files that are no records are
    /// passed over, and with a warning those that cannot be read.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn images(&self) -> Result<Vec<ImageRecord>> {
        let records = Arc::clone(&self.parts.records);
        let list = move |dir: &Arc<_>| records.list(dir);
        let directory = &self.parts.directory;
        directory.run_if_there("list the images of", list).await
    }

    /// Remembers an image, in place of an older record. A pinned image stays pinned. Does nothing
    /// for one that is not pinned and of which no layer is there; and, with a warning, where
    /// another version of this program has remembered it. A dropped future may or may not have done
    /// it.
    ///
    /// # Errors
    /// - `Permanent` for a name or a number of layers beyond the limits of [`ImageRecord`], and for
    ///   an image to be pinned that another version has remembered.
    /// - `Unavailable` when there is no room, when none of the 4096 images that are remembered may
    ///   be forgotten, and when another process keeps the lock on the quota.
    pub async fn record_image(&self, record: ImageRecord) -> Result<()> {
        self.remember(record, true).await
    }

    /// Remembers an image of which not all layers could be brought. An older record stays, and its
    /// pin on layers that are there.
    ///
    /// # Errors
    /// As for [`record_image`](Self::record_image).
    pub async fn record_partial_image(&self, record: ImageRecord) -> Result<()> {
        self.remember(record, false).await
    }

    async fn remember(&self, record: ImageRecord, replace: bool) -> Result<()> {
        let remember = move |dir: &Arc<_>| records::remember(dir, record, replace);
        let directory = &self.parts.directory;
        directory.run("remember an image in", remember).await
    }

    /// Has the layers of a remembered image evicted after all others, and returns its record;
    /// `None` where it is not remembered. A dropped future may or may not have done it.
    ///
    /// # Errors
    /// As for [`record_image`](Self::record_image).
    pub async fn pin_image(&self, name: &str, platform: &str) -> Result<Option<ImageRecord>> {
        let file = record::file_name(name, platform);
        let pin = move |dir: &Arc<_>| records::pin(dir, &file);
        self.parts.directory.run("pin an image in", pin).await
    }

    /// Lets the layers of an image be evicted as others are, unless another pinned image has them
    /// as well, and tells whether it was pinned. A dropped future may or may not have done it.
    ///
    /// # Errors
    /// As for [`record_image`](Self::record_image).
    pub async fn unpin_image(&self, name: &str, platform: &str) -> Result<bool> {
        let file = record::file_name(name, platform);
        let unpin = move |dir: &Arc<_>| records::unpin(dir, &file);
        let directory = &self.parts.directory;
        directory.run_if_there("unpin an image in", unpin).await
    }
}

#[async_trait]
impl LayerSource for DiskTier {
    fn name(&self) -> &str {
        self.parts.directory.tier()
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
        let found = self.parts.finder.find(layer).await;
        let Some(reader) = found.map_err(self.place("open", &layer.digest))? else {
            return Ok(None);
        };
        tracing::debug!(
            digest = %layer.digest,
            path = %self.dir().join(file_name(&layer.digest, LAYER)).display(),
            bytes = reader.len().unwrap_or(0),
            "disk cache hit"
        );
        Ok(Some(reader))
    }

    /// Looks what [opening](Self::open) `layer` would find, and changes nothing: the time of its
    /// last use stays, eviction does not take it for open, and a lost index is not rebuilt. Takes a
    /// few system calls, off the runtime; dropping the future leaves nothing behind.
    async fn probe(&self, layer: &LayerDescriptor) -> Result<Probe> {
        let look = self.parts.finder.probe(layer).await;
        Ok(match look.map_err(self.place("open", &layer.digest))? {
            Look::Absent => match self.parts.claims.check(layer) {
                Ok(()) => Probe::Absent,
                Err(error) => Probe::Refused(self.place("create", &layer.digest)(error)),
            },
            Look::Found(reader) => Probe::Present(reader),
            Look::NeedsHashing => Probe::Unverified,
        })
    }
}

#[async_trait]
impl Tier for DiskTier {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        let claim = self.parts.claims.claim(layer).await;
        claim.map_err(self.place("create", &layer.digest))
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        let of = *digest;
        let removed = self.parts.directory.run_if_there("remove", move |dir| {
            remove_layer(dir, &of)
                .and_then(|removed| sync_removal(dir).map(|()| removed))
                .map_err(|error| failure("remove the layer", error))
        });
        removed.await.map_err(self.place("remove", digest))
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        let directory = Arc::clone(&self.parts.directory);
        let listed = async move {
            let layers = directory.run_if_there("list", |dir| scan(dir)).await?;
            let stats = layers.into_iter().filter_map(|(digest, files)| {
                let (len, last_used) = files.layer?;
                Some(Ok(LayerStat::new(digest, len).with_last_used(last_used)))
            });
            Ok(stream::iter(stats))
        };
        stream::once(listed).try_flatten().boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::layout::{IMAGE_DIR, INDEX, LOCK_DIR, QUARANTINE_DIR, QUOTA_LOCK, STAGING_DIR};

    #[test]
    fn the_names_are_those_that_are_documented() {
        let digest = Digest::sha256_of(b"a blob");
        let names = [
            file_name(&digest, LAYER),
            file_name(&digest, INDEX),
            file_name(&digest, "tree"),
            format!("{LOCK_DIR}/{}", digest.hex()),
            format!("{LOCK_DIR}/{QUOTA_LOCK}"),
            format!("{STAGING_DIR}/"),
            format!(
                "{IMAGE_DIR}/{}",
                record::file_name("docker.io/library/debian:12", "linux/amd64")
            ),
            format!("{QUARANTINE_DIR}/"),
        ];
        assert_eq!(cache_testkit::documented("formats.md", "names on disk"), names);
    }
}

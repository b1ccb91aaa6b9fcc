//! Writing a layer, which is then either committed or gone.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{Error, LayerDescriptor, LayerIndex, LayerReader, LayerWriter, Result};

use crate::dir::directory::Directory;
use crate::dir::handle::Handle;
use crate::dir::layout::{INDEX, LAYER, file_name};
use crate::dir::lock::FileLock;
use crate::dir::publish::NewFile;
use crate::failure::{blocking, failure};
use crate::fill::behind::SyncBehind;
use crate::layer::reader::DiskReader;
use crate::space::quota::Quota;

/// A layer being written.
#[derive(Debug)]
pub(crate) struct DiskWriter {
    tier: Arc<str>,
    reader: Arc<DiskReader>,
    layer: LayerDescriptor,
    /// Taken while a write or the commit runs. If that is cancelled or fails, it is dropped where
    /// it runs, and the writer has nothing left to go on with.
    fill: Option<Fill>,
}

/// The parts of a layer being written that have to vanish together when it is given up. Blocks.
#[derive(Debug)]
struct Fill {
    quota: Arc<Quota>,
    dir: Arc<Handle>,
    /// The path of the layer's file, for the log.
    path: PathBuf,
    layer: LayerDescriptor,
    reader: Arc<DiskReader>,
    written: u64,
    synced: SyncBehind,
    started: Instant,
    /// In front of the lock: the file is gone before others may start over.
    new: NewFile,
    lock: FileLock,
}

impl DiskWriter {
    /// Starts writing a layer whose lock is held, in `dir`, which is the open `directory`. Blocks.
    pub(crate) fn begin(
        directory: &Directory,
        dir: &Arc<Handle>,
        quota: &Arc<Quota>,
        layer: &LayerDescriptor,
        lock: FileLock,
    ) -> Result<Self> {
        let digest = &layer.digest;
        let new = quota.when_full_evict(dir, digest, 1, "create a file for the layer", || {
            NewFile::create(dir)
        })?;
        let file = Arc::clone(new.file());
        let tier = directory.tier();
        let reader = DiskReader::growing(tier, *digest, Arc::clone(dir), Arc::clone(&file));
        let reader = Arc::new(reader);
        let fill = Fill {
            quota: Arc::clone(quota),
            dir: Arc::clone(dir),
            path: directory.path().join(file_name(digest, LAYER)),
            layer: layer.clone(),
            reader: Arc::clone(&reader),
            written: 0,
            synced: SyncBehind::new(&file),
            started: Instant::now(),
            new,
            lock,
        };
        Ok(Self {
            tier: Arc::clone(tier),
            reader,
            layer: layer.clone(),
            fill: Some(fill),
        })
    }

    fn take_fill(&mut self) -> Result<Fill> {
        let spent =
            || Error::unavailable("an earlier write failed or was cancelled, so nothing can follow it");
        self.fill.take().ok_or_else(spent)
    }

    fn place<T>(&self, operation: &'static str, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.at(&self.tier, operation).of_layer(&self.layer.digest))
    }
}

#[async_trait]
impl LayerWriter for DiskWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let written = async {
            let mut fill = self.take_fill()?;
            blocking(move || fill.write(&bytes).map(|()| fill)).await?
        }
        .await;
        self.fill = Some(self.place("write", written)?);
        Ok(())
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        Some(Arc::clone(&self.reader) as Arc<dyn LayerReader>)
    }

    async fn commit(mut self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        let index = index.clone();
        let committed = async {
            let fill = self.take_fill()?;
            blocking(move || fill.commit(&index)).await?
        }
        .await;
        Ok(self.place("commit", committed)? as Arc<dyn LayerReader>)
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let Some(fill) = self.fill.take() else {
            return Ok(());
        };
        let dropped = blocking(move || drop(fill)).await;
        self.place("abort", dropped)
    }
}

impl Drop for DiskWriter {
    fn drop(&mut self) {
        // Freeing the blocks of a large file takes a while: not on a thread of the runtime, if
        // there is one.
        if let (Some(fill), Ok(runtime)) = (self.fill.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(fill));
        }
    }
}

impl Fill {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let len = bytes.len() as u64;
        let end = self.written + len;
        self.lock.beat();
        let (digest, quota) = (&self.layer.digest, &self.quota);
        quota.oversize.check_growth(digest, end)?;
        quota.make_room_on_disk(&self.dir, digest, len)?;
        quota.when_full_evict(&self.dir, digest, len, "write the layer", || {
            self.new.file().write_all_at(bytes, self.written)
        })?;
        self.written = end;
        self.synced.grown_to(end);
        self.reader.grow_to(end);
        Ok(())
    }

    fn commit(mut self, index: &LayerIndex) -> Result<Arc<DiskReader>> {
        if *index.digest() != self.layer.digest || index.len() != self.written {
            return Err(Error::corrupt("the index does not describe what was written"));
        }
        let (new, lock, reader, synced) = (&mut self.new, &self.lock, &self.reader, self.synced);
        let (quota, dir) = (&self.quota, &self.dir);
        let published = lock.beat_during(|| {
            synced.finish().map_err(|error| failure(SYNC, error))?;
            publish(quota, dir, new, index)
        });
        if published.is_err() && !dir.contains(&file_name(index.digest(), LAYER)) {
            // The index may be there already. If it cannot be removed, recovery does it.
            let _ = dir.unlink(&file_name(index.digest(), INDEX));
        }
        published?;
        reader.end();
        tracing::info!(
            digest = %index.digest(),
            path = %self.path.display(),
            bytes = self.written,
            duration = self.started.elapsed().as_secs_f64(),
            "layer decompressed and cached to disk"
        );
        Ok(Arc::clone(reader))
    }
}

/// Names the sync in errors.
const SYNC: &str = "write the layer to the disk";

/// Commits a layer: index and layer become durable, and then get their names, within the quota.
fn publish(quota: &Quota, dir: &Arc<Handle>, layer: &mut NewFile, index: &LayerIndex) -> Result<()> {
    let digest = index.digest();
    let (layer_name, index_name) = (file_name(digest, LAYER), file_name(digest, INDEX));
    let encoded = index.encode();
    let encoded_len = encoded.len() as u64;
    // The slow part comes first: the quota lock is held for renames, and the sync of the directory.
    layer.sync().map_err(|error| failure(SYNC, error))?;
    let mut new_index = quota.when_full_evict(dir, digest, encoded_len, "write the layer's index", || {
        let new = NewFile::holding(dir, &encoded)?;
        new.sync().map(|()| new)
    })?;
    quota.with_room_in_quota(dir, digest, index.len() + encoded_len, || {
        quota.when_full_evict(dir, digest, encoded_len, "name the layer's index", || {
            new_index.replace(&index_name)
        })?;
        // This process holds the lock and found no valid layer. If there is one all the same, an
        // operator has removed its writer's lock file, and it has the same bytes.
        quota.when_full_evict(dir, digest, encoded_len, "name the layer", || {
            layer.publish(&layer_name)
        })
    })
}

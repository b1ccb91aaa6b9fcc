//! The layers and images in the cache, and how much they take.

use std::sync::Arc;
use std::time::SystemTime;

use cache_core::{Digest, Result};

use crate::dir::directory::Directory;
use crate::dir::handle::Handle;
use crate::dir::scan::{Layers, scan};
use crate::images::record::ImageRecord;
use crate::images::records::Records;
use crate::space::evict::Evictor;
use crate::space::policy::Standing;
use crate::space::quarantine::{Quarantine, Quarantined};

/// How much the cache takes, by [`DiskTier::usage`](crate::DiskTier::usage).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskUsage {
    /// How many layers there are.
    pub layers: u64,
    /// Bytes of the layers and their companions, and of the quarantine.
    pub bytes: u64,
    /// How many layers are in quarantine. They are not among `layers`.
    pub quarantined_layers: u64,
    /// Bytes of the quarantine.
    pub quarantined_bytes: u64,
    /// Bytes of the file system that this user may still write.
    pub free_bytes: u64,
    /// The limit on `bytes`.
    pub max_bytes: Option<u64>,
    /// The limit on `free_bytes`.
    pub min_free_bytes: u64,
}

/// The content of the cache, by [`DiskTier::contents`](crate::DiskTier::contents).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiskContents {
    /// How much all of it takes.
    pub usage: DiskUsage,
    /// The layers, in the order in which they would be evicted now.
    pub layers: Vec<CachedLayer>,
    /// The images that are remembered, by name and platform.
    pub images: Vec<ImageRecord>,
}

/// A layer in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedLayer {
    /// Its digest.
    pub digest: Digest,
    /// Bytes of the layer and its companions.
    pub bytes: u64,
    /// Time of its last open, to the minute.
    pub last_used: SystemTime,
    /// Time of its fill; `None` for one that has lost its index.
    pub filled: Option<SystemTime>,
    /// The group that it is evicted with.
    pub standing: Standing,
}

/// Measures and lists the layers and images of a directory.
#[derive(Debug)]
pub(crate) struct Inventory {
    pub(crate) max_bytes: Option<u64>,
    pub(crate) min_free_bytes: u64,
    pub(crate) records: Arc<Records>,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) evictor: Arc<Evictor>,
}

impl Inventory {
    /// Measures the directory, or the place where it would be. Blocks.
    pub(crate) fn usage(&self, directory: &Directory) -> Result<DiskUsage> {
        match directory.if_there()? {
            Some(dir) => self.usage_of(&dir, &scan(&dir)?),
            None => self.usage_of_none(directory),
        }
    }

    /// Measures the layers that a scan has found. Blocks.
    pub(crate) fn usage_of(&self, dir: &Handle, layers: &Layers) -> Result<DiskUsage> {
        Ok(self.sum(layers, self.quarantine.total(dir), dir.free_bytes()?))
    }

    /// Lists the directory. Blocks.
    pub(crate) fn contents(&self, directory: &Directory) -> Result<DiskContents> {
        let Some(dir) = directory.if_there()? else {
            return Ok(DiskContents {
                usage: self.usage_of_none(directory)?,
                layers: Vec::new(),
                images: Vec::new(),
            });
        };
        let files = scan(&dir)?;
        let usage = self.usage_of(&dir, &files)?;
        let candidates = self.evictor.candidates(&dir, files).into_iter();
        let layers = candidates.map(|candidate| CachedLayer {
            digest: candidate.digest,
            bytes: candidate.facts.bytes,
            last_used: candidate.facts.used,
            filled: candidate.facts.filled,
            standing: candidate.standing,
        });
        Ok(DiskContents {
            layers: layers.collect(),
            images: self.records.list_readable(&dir),
            usage,
        })
    }

    fn usage_of_none(&self, directory: &Directory) -> Result<DiskUsage> {
        let free_bytes = directory.free_bytes_of_parent()?;
        Ok(self.sum(&Layers::new(), Quarantined::default(), free_bytes))
    }

    fn sum(&self, layers: &Layers, quarantined: Quarantined, free_bytes: u64) -> DiskUsage {
        DiskUsage {
            layers: layers.values().filter(|files| files.layer.is_some()).count() as u64,
            bytes: layers.values().map(|files| files.bytes).sum::<u64>() + quarantined.bytes,
            quarantined_layers: quarantined.layers,
            quarantined_bytes: quarantined.bytes,
            free_bytes,
            max_bytes: self.max_bytes,
            min_free_bytes: self.min_free_bytes,
        }
    }
}

//! What is in the cache, and how much it takes.

use std::collections::BTreeMap;
use std::time::SystemTime;

use cache_core::{Digest, Result};

use crate::dir::directory::Handle;
use crate::dir::scan::Files;
use crate::failure::failure;
use crate::images::record::ImageRecord;
use crate::space::policy::Standing;
use crate::space::quota::free_bytes;
use crate::tier::{DiskTier, Store};

/// How much the cache takes, by [`DiskTier::usage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskUsage {
    /// How many layers there are.
    pub layers: u64,
    /// Bytes of the layers and their companions, and of what is in quarantine.
    pub bytes: u64,
    /// How many layers are in quarantine, which are none of `layers`.
    pub quarantined_layers: u64,
    /// Bytes of what is in quarantine.
    pub quarantined_bytes: u64,
    /// Bytes of the file system that this user may still write.
    pub free_bytes: u64,
    /// The limit on `bytes`.
    pub max_bytes: Option<u64>,
    /// The limit on `free_bytes`.
    pub min_free_bytes: u64,
}

/// What is in the cache, by [`DiskTier::contents`].
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
    /// When it was last opened, to the minute.
    pub last_used: SystemTime,
    /// When it was filled; `None` for one that has lost its index.
    pub filled: Option<SystemTime>,
    /// Why it is evicted before others or after them.
    pub standing: Standing,
}

impl DiskTier {
    /// How much the cache takes. Looks at every file's length.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn usage(&self) -> Result<DiskUsage> {
        self.off_the_runtime_or("usage", Store::no_usage, |store, dir| store.usage(dir))
            .await
    }

    /// What is in the cache. Looks at every file, whether a process has it open, and at the records of images; others go on meanwhile, and
    /// what they change may show in one part of the answer and not in another. Records that cannot be read are warned of and left out.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn contents(&self) -> Result<DiskContents> {
        let nothing = |store: &Store| {
            Ok(DiskContents {
                usage: store.no_usage()?,
                layers: Vec::new(),
                images: Vec::new(),
            })
        };
        self.off_the_runtime_or("contents", nothing, |store, dir| {
            let files = store.scan(dir)?;
            let usage = store.usage_of(dir, &files)?;
            let candidates = store.candidates_of(dir, files).into_iter();
            let layers = candidates.map(|candidate| CachedLayer {
                digest: candidate.digest,
                bytes: candidate.facts.bytes,
                last_used: candidate.facts.used,
                filled: candidate.facts.filled,
                standing: candidate.standing,
            });
            Ok(DiskContents {
                layers: layers.collect(),
                images: store.readable_images(dir),
                usage,
            })
        })
        .await
    }
}

impl Store {
    pub(crate) fn usage(&self, dir: &Handle) -> Result<DiskUsage> {
        self.usage_of(dir, &self.scan(dir)?)
    }

    /// That of a directory that is not there.
    pub(crate) fn no_usage(&self) -> Result<DiskUsage> {
        let free_bytes = self.directory.free_bytes_of_parent();
        let free_bytes = free_bytes.map_err(|error| failure("examine the disk", error))?;
        Ok(DiskUsage {
            layers: 0,
            bytes: 0,
            quarantined_layers: 0,
            quarantined_bytes: 0,
            free_bytes,
            max_bytes: self.config.max_bytes,
            min_free_bytes: self.config.min_free_bytes,
        })
    }

    /// The same of what a scan has found.
    pub(crate) fn usage_of(&self, dir: &Handle, layers: &BTreeMap<Digest, Files>) -> Result<DiskUsage> {
        let quarantined = self.quarantined(dir);
        Ok(DiskUsage {
            layers: layers.values().filter(|files| files.layer.is_some()).count() as u64,
            bytes: layers.values().map(|files| files.bytes).sum::<u64>() + quarantined.bytes,
            quarantined_layers: quarantined.layers,
            quarantined_bytes: quarantined.bytes,
            free_bytes: free_bytes(dir).map_err(|error| failure("examine the disk", error))?,
            max_bytes: self.config.max_bytes,
            min_free_bytes: self.config.min_free_bytes,
        })
    }
}

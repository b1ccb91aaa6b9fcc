//! How a disk tier is set up.

use std::path::PathBuf;
use std::time::Duration;

use cache_core::Result;

use crate::DiskTier;

/// What [`DiskConfig::min_free_bytes`] is unless set: 256 MiB.
pub const DEFAULT_MIN_FREE_BYTES: u64 = 256 << 20;

/// What [`DiskConfig::lock_patience`] is unless set: one minute.
pub const DEFAULT_LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// The settings of a [`DiskTier`]. Processes that share a directory should agree on the limits: each keeps its own.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiskConfig {
    /// The tier's name in errors and metrics; `disk` unless set.
    pub name: String,
    /// The cache directory.
    pub dir: PathBuf,
    /// Whether the directory is created, with mode 0700, if it is absent, and has to be writable; on unless set. Off is for looking into
    /// it: where it is absent there are no layers, and what would put something there fails, as does what changes something where it may only be
    /// read.
    pub create: bool,
    /// How many bytes the layers and their companions may take, together with what is in quarantine; no limit unless set. A layer being
    /// written does not count until it is committed: layers are evicted for it only once it is known to be right. Nor do the records of
    /// images, of a few hundred bytes each.
    pub max_bytes: Option<u64>,
    /// How many bytes of the file system are left free; [`DEFAULT_MIN_FREE_BYTES`] unless set.
    pub min_free_bytes: u64,
    /// How long a process may hold the lock of a layer without making progress before others stop waiting for it;
    /// [`DEFAULT_LOCK_PATIENCE`] unless set.
    pub lock_patience: Duration,
    /// Write into `staging/` even where the file system has `O_TMPFILE`; off unless set.
    pub force_staging: bool,
}

impl DiskConfig {
    /// The defaults for the cache directory `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            name: "disk".into(),
            dir: dir.into(),
            create: true,
            max_bytes: None,
            min_free_bytes: DEFAULT_MIN_FREE_BYTES,
            lock_patience: DEFAULT_LOCK_PATIENCE,
            force_staging: false,
        }
    }

    /// The same with [`name`](Self::name).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The same with [`create`](Self::create).
    #[must_use]
    pub fn with_create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// The same with [`max_bytes`](Self::max_bytes); `None` for no limit.
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: impl Into<Option<u64>>) -> Self {
        self.max_bytes = max_bytes.into();
        self
    }

    /// The same with [`min_free_bytes`](Self::min_free_bytes).
    #[must_use]
    pub fn with_min_free_bytes(mut self, min_free_bytes: u64) -> Self {
        self.min_free_bytes = min_free_bytes;
        self
    }

    /// The same with [`lock_patience`](Self::lock_patience).
    #[must_use]
    pub fn with_lock_patience(mut self, lock_patience: Duration) -> Self {
        self.lock_patience = lock_patience;
        self
    }

    /// The same with [`force_staging`](Self::force_staging).
    #[must_use]
    pub fn with_force_staging(mut self, force_staging: bool) -> Self {
        self.force_staging = force_staging;
        self
    }

    /// [`DiskTier::open`] with these settings.
    ///
    /// # Errors
    /// Those of [`DiskTier::open`].
    pub fn open(self) -> Result<DiskTier> {
        DiskTier::open(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_a_gibibyte_is_left_free_unless_told_otherwise() {
        assert_eq!(DiskConfig::new("/clip").min_free_bytes, 268_435_456);
    }
}

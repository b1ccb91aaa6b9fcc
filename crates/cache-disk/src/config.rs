//! The settings of a disk tier.

use std::path::PathBuf;
use std::time::Duration;

/// The default of [`DiskConfig::min_free_bytes`]: 256 MiB.
pub const DEFAULT_MIN_FREE_BYTES: u64 = 256 << 20;

const DEFAULT_LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// The settings of a [`DiskTier`](crate::DiskTier). Processes that share a directory should agree
/// on the limits: each keeps its own.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiskConfig {
    /// The tier's name in errors and metrics; `disk` unless set.
    pub name: String,
    /// The cache directory.
    pub dir: PathBuf,
    /// Creates the directory, with mode 0700, if it is absent, and demands that it is writable; on
    /// unless set.
    ///
    /// Off is for looking into it. An absent directory then has no layers, and an operation that
    /// would put something there fails. So does an operation that changes a directory which may
    /// only be read.
    pub create: bool,
    /// How many bytes the layers, their companions and the quarantine may take; no limit unless
    /// set.
    ///
    /// A layer being written does not count until it is committed: layers are evicted for it only
    /// once it is known to be right. The records of images, of a few hundred bytes each, do not
    /// count.
    pub max_bytes: Option<u64>,
    /// How many bytes of the file system are left free; [`DEFAULT_MIN_FREE_BYTES`] unless set.
    pub min_free_bytes: u64,
    /// How long a process may hold the lock of a layer without making progress before others stop
    /// waiting for it; one minute unless set.
    pub lock_patience: Duration,
    /// Write into `staging/` even where the file system has `O_TMPFILE`; off unless set.
    pub force_staging: bool,
}

impl DiskConfig {
    /// Makes the default settings for the cache directory `dir`, to be changed and
    /// [opened](Self::open).
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

    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets [`create`](Self::create).
    #[must_use]
    pub fn with_create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Sets [`max_bytes`](Self::max_bytes); `None` for no limit.
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: impl Into<Option<u64>>) -> Self {
        self.max_bytes = max_bytes.into();
        self
    }

    /// Sets [`min_free_bytes`](Self::min_free_bytes).
    #[must_use]
    pub fn with_min_free_bytes(mut self, min_free_bytes: u64) -> Self {
        self.min_free_bytes = min_free_bytes;
        self
    }

    /// Sets [`lock_patience`](Self::lock_patience).
    #[must_use]
    pub fn with_lock_patience(mut self, lock_patience: Duration) -> Self {
        self.lock_patience = lock_patience;
        self
    }

    /// Sets [`force_staging`](Self::force_staging).
    #[must_use]
    pub fn with_force_staging(mut self, force_staging: bool) -> Self {
        self.force_staging = force_staging;
        self
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

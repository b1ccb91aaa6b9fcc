//! What an operator removes: what crashes have left, and layers down to a size, by their age, or all but some. All of it while others
//! read and fill.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use cache_core::{Digest, Result};

use crate::dir::directory::Handle;
use crate::dir::recovery::remove_leftovers;
use crate::failure::failure;
use crate::space::evict::{Candidate, Evicted, sync_removal};
use crate::space::policy::Standing;
use crate::space::quota::under_quota_if_possible;
use crate::space::usage::DiskUsage;
use crate::tier::{DiskTier, Store};

/// Which layers [`DiskTier::gc_with`] removes. Two settings say which ones may go, the third one when enough are gone:
///
/// - With `older_than` or `keep`, only the layers may go that both of them allow. Without, all may.
/// - With `max_bytes`, layers go one after the other, as in any eviction, until all together take no more than that. Without, all go that
///   may, except those of pinned images; and if neither of the other two is set, so many as the limits of the configuration demand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcOptions {
    /// How many bytes may stay, of what [`DiskUsage::bytes`] counts.
    pub max_bytes: Option<u64>,
    /// Only what was not used for so long may go, and nothing that a process has open.
    pub older_than: Option<Duration>,
    /// These may not go.
    pub keep: Option<BTreeSet<Digest>>,
    /// Remove nothing, and report what would be removed. What crashes have left is not looked for.
    pub dry_run: bool,
}

impl GcOptions {
    /// The same with [`max_bytes`](Self::max_bytes); `None` for none.
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: impl Into<Option<u64>>) -> Self {
        self.max_bytes = max_bytes.into();
        self
    }

    /// The same with [`older_than`](Self::older_than); `None` for any age.
    #[must_use]
    pub fn with_older_than(mut self, older_than: impl Into<Option<Duration>>) -> Self {
        self.older_than = older_than.into();
        self
    }

    /// The same with [`keep`](Self::keep); `None` to keep none for what it is.
    #[must_use]
    pub fn with_keep(mut self, keep: impl Into<Option<BTreeSet<Digest>>>) -> Self {
        self.keep = keep.into();
        self
    }

    /// The same with [`dry_run`](Self::dry_run).
    #[must_use]
    pub fn with_dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    fn allow(&self, candidate: &Candidate, now: SystemTime) -> bool {
        let idle = now.duration_since(candidate.facts.used).unwrap_or_default();
        let is_old = |age: Duration| idle >= age && !candidate.facts.open;
        self.older_than.is_none_or(is_old)
            && self
                .keep
                .as_ref()
                .is_none_or(|keep| !keep.contains(&candidate.digest))
    }

    /// How many bytes are to go.
    fn excess(&self, usage: &DiskUsage) -> u64 {
        let limits = || {
            usage
                .bytes
                .saturating_sub(usage.max_bytes.unwrap_or(u64::MAX))
                .max(usage.min_free_bytes.saturating_sub(usage.free_bytes))
        };
        match self.max_bytes {
            Some(max) => usage.bytes.saturating_sub(max),
            None if self.removes_all() => u64::MAX,
            None => limits(),
        }
    }

    /// Whether all go that may.
    fn removes_all(&self) -> bool {
        self.max_bytes.is_none() && (self.older_than.is_some() || self.keep.is_some())
    }
}

/// What [`DiskTier::gc`] or [`DiskTier::clear`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// The layers that were removed, in the order in which they went, with their bytes.
    pub removed: Vec<(Digest, u64)>,
    /// How many layers were removed.
    pub removed_layers: u64,
    /// Bytes of those layers and their companions. Layers that are open keep theirs until they are closed.
    pub removed_bytes: u64,
    /// How many files of processes that died were removed.
    pub removed_leftovers: u64,
    /// How many layers were taken out of quarantine, for good.
    pub removed_quarantined: u64,
    /// How many images were forgotten, of which no layer was left.
    pub removed_images: u64,
    /// How many layers are left.
    pub layers: u64,
    /// Bytes that are left, as [`DiskUsage::bytes`] counts them.
    pub bytes: u64,
}

impl DiskTier {
    /// Removes what processes that died have left and what is in quarantine, then evicts layers until all together take no
    /// more than `target_bytes`, or, without one, until the limits of the configuration are kept.
    ///
    /// # Errors
    /// When the directory cannot be read or written. Some of it may be done then. What cannot be read or removed of the records of images or
    /// the quarantine is only warned of.
    pub async fn gc(&self, target_bytes: Option<u64>) -> Result<GcReport> {
        self.gc_with(GcOptions::default().with_max_bytes(target_bytes))
            .await
    }

    /// The same for the layers that `options` say, and with images of which nothing is left. A dropped future stops nothing that was begun.
    ///
    /// # Errors
    /// As for [`gc`](Self::gc).
    pub async fn gc_with(&self, options: GcOptions) -> Result<GcReport> {
        self.off_the_runtime_if_there("gc", move |store, dir| store.gc(dir, &options))
            .await
    }

    /// Removes all layers with their companions, what processes that died have left, what is in quarantine, and the images that are not
    /// pinned.
    ///
    /// # Errors
    /// When a layer may still be there.
    pub async fn clear(&self) -> Result<GcReport> {
        self.off_the_runtime_if_there("clear", |store, dir| {
            let mut report = GcReport::default();
            for (digest, files) in store.scan(dir)? {
                let removed = store.remove_layer(dir, &digest);
                if removed.map_err(|error| failure("remove a layer", error).of_layer(&digest))? {
                    report.note(&digest, files.bytes);
                }
            }
            report.removed_quarantined = store.release(dir, u64::MAX).layers;
            sync_removal(dir).map_err(|error| failure("remove the layers for good", error))?;
            report.removed_leftovers = leftovers(dir)?;
            under_quota_if_possible(dir, || store.end(dir, report))
        })
        .await
    }
}

impl Store {
    fn gc(&self, dir: &Handle, options: &GcOptions) -> Result<GcReport> {
        let mut report = GcReport::default();
        if !options.dry_run {
            report.removed_leftovers = leftovers(dir)?;
            report.removed_quarantined = self.release(dir, u64::MAX).layers;
        }
        let mut evict = || self.evict_as_told(dir, options, &mut report);
        let usage = if options.dry_run || options.removes_all() {
            // Of a rehearsal, and of all that may go, nothing depends on what others evict meanwhile; and with many layers it is long enough
            // to be in their way.
            evict()?
        } else {
            under_quota_if_possible(dir, evict)?
        };
        if options.dry_run {
            report.layers = usage.layers.saturating_sub(report.removed_layers);
            report.bytes = usage.bytes.saturating_sub(report.removed_bytes);
            return Ok(report);
        }
        under_quota_if_possible(dir, || self.end(dir, report))
    }

    /// Evicts what `options` say; how much there was before.
    fn evict_as_told(&self, dir: &Handle, options: &GcOptions, report: &mut GcReport) -> Result<DiskUsage> {
        let layers = self.scan(dir)?;
        let mut usage = self.usage_of(dir, &layers)?;
        if options.dry_run {
            usage.bytes -= usage.quarantined_bytes;
            report.removed_quarantined = usage.quarantined_layers;
        }
        let excess = options.excess(&usage);
        if excess > 0 {
            let mut candidates = self.candidates_of(dir, layers);
            let now = SystemTime::now();
            candidates.retain(|candidate| options.allow(candidate, now));
            if options.removes_all() {
                candidates.retain(|candidate| candidate.standing != Standing::Pinned);
            }
            let evicted = if options.dry_run {
                // As if nobody were in its way.
                Evicted::of(&candidates, excess, |_| true)
            } else {
                self.evict_these(dir, &candidates, excess)
            };
            for (digest, bytes) in &evicted.layers {
                report.note(digest, *bytes);
            }
        }
        Ok(usage)
    }

    /// Forgets the images of which nothing is left, and says what is. With the lock on the quota: records change.
    fn end(&self, dir: &Handle, mut report: GcReport) -> Result<GcReport> {
        let left = self.scan(dir)?;
        let is_there = |digest: &Digest| left.get(digest).is_some_and(|files| files.layer.is_some());
        report.removed_images = self.remove_forgotten(dir, is_there);
        let usage = self.usage_of(dir, &left)?;
        (report.layers, report.bytes) = (usage.layers, usage.bytes);
        Ok(report)
    }
}

impl GcReport {
    fn note(&mut self, digest: &Digest, bytes: u64) {
        self.removed.push((*digest, bytes));
        self.removed_layers += 1;
        self.removed_bytes += bytes;
    }
}

fn leftovers(dir: &Handle) -> Result<u64> {
    remove_leftovers(dir).map_err(|error| failure("remove leftovers", error))
}

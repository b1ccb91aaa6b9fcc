//! The removal that an operator asks for: leftovers of crashes, and layers down to a size, by their
//! age, or all but some. Others read and fill meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use cache_core::{Digest, Result};

use crate::dir::handle::Handle;
use crate::dir::quota_lock::under_quota_if_possible;
use crate::dir::recovery::remove_leftovers;
use crate::dir::remove::{remove_layer, sync_removal};
use crate::dir::scan::scan;
use crate::failure::failure;
use crate::images::records::remove_forgotten;
use crate::space::evict::{Candidate, Evicted};
use crate::space::policy::Standing;
use crate::space::usage::{DiskUsage, Inventory};

/// The layers that [`DiskTier::gc`](crate::DiskTier::gc) removes. Two settings say which
/// ones may go, the third one when enough are gone:
///
/// - With `older_than` or `keep`, only the layers may go that both of them allow. Without, all may.
/// - With `max_bytes`, layers go one after the other, as in any eviction, until all together take
///   no more than that. Without, all go that may, except those of pinned images. If neither of the
///   other two is set, only so many go as the limits of the configuration demand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcOptions {
    /// How many bytes may stay, as [`DiskUsage::bytes`] counts them.
    pub max_bytes: Option<u64>,
    /// Only layers may go that were not used for so long, and that no process has open.
    pub older_than: Option<Duration>,
    /// These may not go.
    pub keep: Option<BTreeSet<Digest>>,
    /// Remove nothing, and report the layers that would be removed. Leftovers of crashes are not
    /// looked for.
    pub dry_run: bool,
}

impl GcOptions {
    /// Sets [`max_bytes`](Self::max_bytes); `None` for none.
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: impl Into<Option<u64>>) -> Self {
        self.max_bytes = max_bytes.into();
        self
    }

    /// Sets [`older_than`](Self::older_than); `None` for any age.
    #[must_use]
    pub fn with_older_than(mut self, older_than: impl Into<Option<Duration>>) -> Self {
        self.older_than = older_than.into();
        self
    }

    /// Sets [`keep`](Self::keep); `None` to keep no layer by name.
    #[must_use]
    pub fn with_keep(mut self, keep: impl Into<Option<BTreeSet<Digest>>>) -> Self {
        self.keep = keep.into();
        self
    }

    /// Sets [`dry_run`](Self::dry_run).
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

    /// Returns how many bytes are to go.
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

    /// Tells whether all go that may.
    fn removes_all(&self) -> bool {
        self.max_bytes.is_none() && (self.older_than.is_some() || self.keep.is_some())
    }
}

/// The outcome of [`DiskTier::gc`](crate::DiskTier::gc) or
/// [`DiskTier::clear`](crate::DiskTier::clear).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// The layers that were removed, in the order in which they went, with their bytes.
    pub removed: Vec<(Digest, u64)>,
    /// How many layers were removed.
    pub removed_layers: u64,
    /// Bytes of those layers and their companions. Layers that are open keep theirs until they are
    /// closed.
    pub removed_bytes: u64,
    /// How many files of processes that died were removed.
    pub removed_leftovers: u64,
    /// How many layers were taken out of quarantine for good.
    pub removed_quarantined: u64,
    /// How many images were forgotten, of which no layer was left.
    pub removed_images: u64,
    /// How many layers are left.
    pub layers: u64,
    /// Bytes that are left, as [`DiskUsage::bytes`] counts them.
    pub bytes: u64,
}

impl GcReport {
    fn note(&mut self, digest: &Digest, bytes: u64) {
        self.removed.push((*digest, bytes));
        self.removed_layers += 1;
        self.removed_bytes += bytes;
    }
}

/// Removes leftovers, the quarantine, and the layers that `options` say. Blocks.
pub(crate) fn gc(inventory: &Inventory, dir: &Handle, options: &GcOptions) -> Result<GcReport> {
    let mut report = GcReport::default();
    if !options.dry_run {
        report.removed_leftovers = leftovers(dir)?;
        report.removed_quarantined = inventory.quarantine.release(dir, u64::MAX).layers;
    }
    let mut evict = || evict_as_told(inventory, dir, options, &mut report);
    let usage = if options.dry_run || options.removes_all() {
        // A rehearsal, and the removal of all layers that may go, does not depend on what
        // others evict meanwhile. With many layers it would hold the lock long enough to be in
        // their way.
        evict()?
    } else {
        under_quota_if_possible(dir, evict)?
    };
    if options.dry_run {
        report.layers = usage.layers.saturating_sub(report.removed_layers);
        report.bytes = usage.bytes.saturating_sub(report.removed_bytes);
        return Ok(report);
    }
    under_quota_if_possible(dir, || end(inventory, dir, report))
}

/// Removes all layers, leftovers, the quarantine, and the images that are not pinned. Blocks.
pub(crate) fn clear(inventory: &Inventory, dir: &Handle) -> Result<GcReport> {
    let mut report = GcReport::default();
    for (digest, files) in scan(dir)? {
        let removed = remove_layer(dir, &digest);
        if removed.map_err(|error| failure("remove a layer", error).of_layer(&digest))? {
            report.note(&digest, files.bytes);
        }
    }
    report.removed_quarantined = inventory.quarantine.release(dir, u64::MAX).layers;
    sync_removal(dir).map_err(|error| failure("remove the layers for good", error))?;
    report.removed_leftovers = leftovers(dir)?;
    under_quota_if_possible(dir, || end(inventory, dir, report))
}

/// Evicts the layers that `options` say, and returns how much there was before.
fn evict_as_told(
    inventory: &Inventory,
    dir: &Handle,
    options: &GcOptions,
    report: &mut GcReport,
) -> Result<DiskUsage> {
    let layers = scan(dir)?;
    let mut usage = inventory.usage_of(dir, &layers)?;
    if options.dry_run {
        usage.bytes -= usage.quarantined_bytes;
        report.removed_quarantined = usage.quarantined_layers;
    }
    let excess = options.excess(&usage);
    if excess > 0 {
        let mut candidates = inventory.evictor.candidates(dir, layers);
        let now = SystemTime::now();
        candidates.retain(|candidate| options.allow(candidate, now));
        if options.removes_all() {
            candidates.retain(|candidate| candidate.standing != Standing::Pinned);
        }
        let evicted = if options.dry_run {
            // As if nobody were in its way.
            Evicted::of(&candidates, excess, |_| true)
        } else {
            inventory.evictor.evict_these(dir, &candidates, excess)
        };
        for (digest, bytes) in &evicted.layers {
            report.note(digest, *bytes);
        }
    }
    Ok(usage)
}

/// Forgets the images of which nothing is left, and reports the rest. Needs the lock on the
/// quota, because records change.
fn end(inventory: &Inventory, dir: &Handle, mut report: GcReport) -> Result<GcReport> {
    let left = scan(dir)?;
    let is_there = |digest: &Digest| left.get(digest).is_some_and(|files| files.layer.is_some());
    report.removed_images = remove_forgotten(dir, is_there);
    let usage = inventory.usage_of(dir, &left)?;
    (report.layers, report.bytes) = (usage.layers, usage.bytes);
    Ok(report)
}

fn leftovers(dir: &Handle) -> Result<u64> {
    remove_leftovers(dir).map_err(|error| failure("remove leftovers", error))
}

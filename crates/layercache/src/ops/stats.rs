//! `stats`: what a stack has cost so far.

use std::collections::BTreeMap;

use serde::Serialize;

use super::error::{OpsError, Place};
use crate::{SourceReport, Stack};

/// Figures of a stack and its process since they were started.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct StatsReport {
    /// Number of blobs that were inflated.
    pub inflates: u64,
    /// Seconds that decoders were at work.
    pub inflate_seconds: f64,
    /// Number of requests to origins.
    pub origin_requests: u64,
    /// Bytes that came from origins, compressed.
    pub origin_bytes: u64,
    /// Most bytes of memory that the process had resident.
    pub peak_rss_bytes: u64,
    /// Figures of each source, by its name.
    pub tiers: BTreeMap<String, SourceStats>,
}

/// Figures of one source.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct SourceStats {
    /// Number of openings that found the layer.
    pub hits: u64,
    /// Number of openings that did not.
    pub misses: u64,
    /// Number of operations that could not be done.
    pub unavailable: u64,
    /// Number of operations that found something wrong.
    pub corrupt: u64,
    /// Bytes of layers read from it.
    pub read_bytes: u64,
    /// Number of layers committed to it.
    pub filled_layers: u64,
    /// Bytes of layers committed to it.
    pub filled_bytes: u64,
    /// Number of layers that it has evicted to keep its limits.
    pub evicted_layers: u64,
}

/// Collects the figures of a stack.
///
/// # Errors
/// When the operating system does not tell the peak of the memory of this process.
pub fn stats(stack: &Stack) -> Result<StatsReport, OpsError> {
    let (origin_requests, origin_bytes) = stack.origin_cost();
    let sources = stack.sources().into_iter();
    Ok(StatsReport {
        inflates: stack.inflate_stats().inflates(),
        inflate_seconds: stack.inflate_stats().busy().as_secs_f64(),
        origin_requests,
        origin_bytes,
        peak_rss_bytes: peak_rss_bytes()?,
        tiers: sources
            .map(|source| (source.name.clone(), source.into()))
            .collect(),
    })
}

impl From<SourceReport> for SourceStats {
    fn from(source: SourceReport) -> Self {
        let counts = source.counts;
        Self {
            hits: counts.hits,
            misses: counts.misses,
            unavailable: counts.unavailable,
            corrupt: counts.corrupt,
            read_bytes: counts.read_bytes,
            filled_layers: counts.filled_layers,
            filled_bytes: counts.filled_bytes,
            evicted_layers: source.evicted_layers,
        }
    }
}

/// Reads `VmHWM` of proc(5), the most memory that this process has had resident.
fn peak_rss_bytes() -> Result<u64, OpsError> {
    const STATUS: &str = "/proc/self/status";
    let status = std::fs::read_to_string(STATUS).at(|| STATUS)?;
    let kibibytes = status.lines().find_map(|line| {
        let number = line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?;
        number.trim().parse::<u64>().ok()
    });
    Ok(kibibytes.ok_or(OpsError::NoPeakMemory)? * 1024)
}

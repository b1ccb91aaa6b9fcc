//! `--stats`: what a command cost, as JSON.

use std::path::Path;

use anyhow::{Context as _, Result};
use layercache::{SourceReport, Stack};
use serde_json::{Map, Value, json};

/// Writes the figures on one line.
pub(super) fn write(figures: &Value, path: &Path) -> Result<()> {
    std::fs::write(path, format!("{figures}\n"))
        .with_context(|| format!("the figures cannot be written to {}", path.display()))
}

/// The figures of this process so far.
pub(super) fn report(stack: &Stack) -> Result<Value> {
    let tiers: Map<String, Value> = stack
        .sources()
        .into_iter()
        .map(|source| (source.name.clone(), tier(&source)))
        .collect();
    let (origin_requests, origin_bytes) = stack.origin_cost();
    Ok(json!({
        "inflates": stack.inflate_stats().inflates(),
        "inflate_seconds": stack.inflate_stats().busy().as_secs_f64(),
        "origin_requests": origin_requests,
        "origin_bytes": origin_bytes,
        "peak_rss_bytes": peak_rss_bytes()?,
        "tiers": tiers,
    }))
}

fn tier(source: &SourceReport) -> Value {
    let counts = source.counts;
    json!({
        "hits": counts.hits,
        "misses": counts.misses,
        "unavailable": counts.unavailable,
        "corrupt": counts.corrupt,
        "read_bytes": counts.read_bytes,
        "filled_layers": counts.filled_layers,
        "filled_bytes": counts.filled_bytes,
        "evicted_layers": source.evicted_layers,
    })
}

/// The most memory this process has had resident: `VmHWM` of proc(5).
fn peak_rss_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let kibibytes = status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .trim()
                .strip_suffix(" kB")?
                .trim()
                .parse::<u64>()
                .ok()
        })
        .context("/proc/self/status has no VmHWM")?;
    Ok(kibibytes * 1024)
}

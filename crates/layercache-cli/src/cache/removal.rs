//! `cache gc` and `cache clear`, in words.

use std::fmt::Write as _;

use anyhow::Result;
use bytesize::ByteSize;
use layercache::ops::RemovalReport;

use super::output;

pub(super) fn to_text(report: &RemovalReport) -> Result<String> {
    let mut text = String::new();
    if report.dry_run {
        for layer in &report.removed {
            let pinned = if layer.pinned == Some(true) {
                "  pinned"
            } else {
                ""
            };
            writeln!(text, "{}  {:>11}{pinned}", layer.digest, ByteSize(layer.bytes))?;
        }
    }
    let removed = if report.dry_run { "would remove" } else { "removed" };
    let layers = output::count(report.removed_layers, "layer");
    write!(text, "{removed} {layers} ({})", ByteSize(report.removed_bytes))?;
    if report.removed_quarantined > 0 {
        write!(text, ", {} in quarantine", report.removed_quarantined)?;
    }
    if report.removed_images > 0 {
        let images = output::count(report.removed_images, "image");
        write!(text, ", what was remembered of {images}")?;
    }
    if !report.dry_run {
        let leftovers = output::count(report.removed_leftovers, "leftover");
        write!(text, " and {leftovers}")?;
    }
    let left = output::count(report.layers, "layer");
    writeln!(text, "; left: {left} ({})", ByteSize(report.bytes))?;
    Ok(text)
}

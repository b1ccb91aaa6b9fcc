//! `cache gc` and `cache clear`: what they have removed.

use anyhow::Result;
use bytesize::ByteSize;
use layercache::core::LayerSource;
use layercache::disk::{DiskTier, GcReport};
use serde_json::{Value, json};

use super::output;

pub(super) fn report(disk: &DiskTier, report: &GcReport, json: bool) -> Result<()> {
    let GcReport {
        removed_layers,
        removed_bytes,
        removed_leftovers,
        layers,
        bytes,
        ..
    } = *report;
    if json {
        let value: Value = json!({
            "tier": disk.name(),
            "removed_layers": removed_layers,
            "removed_bytes": removed_bytes,
            "removed_leftovers": removed_leftovers,
            "layers": layers,
            "bytes": bytes,
        });
        return output::json(&value);
    }
    let text = format!(
        "removed {} ({}) and {}; left: {} ({})\n",
        output::count(removed_layers, "layer"),
        ByteSize(removed_bytes),
        output::count(removed_leftovers, "leftover"),
        output::count(layers, "layer"),
        ByteSize(bytes)
    );
    output::write(text.as_bytes())
}

//! `cache usage`, in words.

use std::fmt::Write as _;

use anyhow::Result;
use bytesize::ByteSize;
use layercache::disk::Standing;
use layercache::ops::UsageReport;

use super::output;

/// Number of layers that are shown of those evicted next; JSON has all.
const SHOWN: usize = 5;

pub(super) fn to_text(usage: &UsageReport) -> Result<String> {
    let limit = match usage.max_bytes {
        None => "no `max_bytes`".to_owned(),
        Some(max) if usage.bytes > max => {
            format!(
                "more than `max_bytes`, {}: the next fill evicts, or `cache gc`",
                ByteSize(max)
            )
        }
        Some(max) => format!("`max_bytes`: {}", ByteSize(max)),
    };
    let mut text = format!(
        "directory  {}\nlayers     {}\nbytes      {} ({limit})\nfree       {} (`min_free_bytes`: {})\n",
        usage.dir.display(),
        usage.layers,
        ByteSize(usage.bytes),
        ByteSize(usage.free_bytes),
        ByteSize(usage.min_free_bytes),
    );
    let (pinned, all) = (usage.pinned_bytes, usage.pinned_total_bytes);
    if all > 0 {
        let layers = output::count(usage.pinned_layers, "layer");
        write!(text, "pinned     {} in {layers}, evicted last", ByteSize(pinned))?;
        match all > pinned {
            true => writeln!(text, "; {} with those that are not cached", ByteSize(all))?,
            false => text.push('\n'),
        }
    }
    if usage.quarantined_layers > 0 {
        let layers = output::count(usage.quarantined_layers, "layer");
        writeln!(
            text,
            "quarantine {} in {layers}, evicted first",
            ByteSize(usage.quarantined_bytes)
        )?;
    }
    if !usage.images.is_empty() {
        text.push_str(
            "\nimages, with the bytes that they share with others, and the layers that are cached\n",
        );
    }
    for image in &usage.images {
        writeln!(
            text,
            "  {} ({})  {}, {} shared, {} of {}{}",
            image.image,
            image.platform,
            ByteSize(image.bytes),
            ByteSize(image.shared_bytes),
            image.cached_layers,
            output::count(image.layers as u64, "layer"),
            if image.pinned { ", pinned" } else { "" }
        )?;
    }
    if !usage.images.is_empty() && usage.unattributed_layers > 0 {
        let layers = output::count(usage.unattributed_layers, "layer");
        writeln!(
            text,
            "  of no image  {}, {layers}",
            ByteSize(usage.unattributed_bytes)
        )?;
    }
    if !usage.eviction_order.is_empty() {
        text.push_str("\nevicted next\n");
    }
    for layer in usage.eviction_order.iter().take(SHOWN) {
        let (bytes, why) = (ByteSize(layer.bytes), in_words(layer.standing));
        writeln!(text, "  {}  {bytes:>11}  {why}", layer.digest)?;
    }
    let more = usage.eviction_order.len().saturating_sub(SHOWN);
    if more > 0 {
        writeln!(text, "  and then {}", output::count(more as u64, "more layer"))?;
    }
    Ok(text)
}

fn in_words(standing: Standing) -> &'static str {
    match standing {
        Standing::Probation => "not used again yet, or not for long",
        Standing::InUse => "used again",
        Standing::Open => "open in a process",
        Standing::Pinned => "pinned",
        _ => "other",
    }
}

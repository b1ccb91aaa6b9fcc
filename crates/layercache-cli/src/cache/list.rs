//! `cache list`: the layers, the most recently used first.

use std::fmt::Write as _;

use anyhow::Result;
use bytesize::ByteSize;
use futures_util::TryStreamExt;
use layercache::core::{LayerSource, LayerStat, Tier};
use layercache::disk::DiskTier;
use serde_json::json;

use super::output;

pub(super) async fn layers(disk: &DiskTier) -> Result<Vec<LayerStat>> {
    let mut layers: Vec<LayerStat> = disk.list().try_collect().await?;
    layers.sort_by_key(|layer| (std::cmp::Reverse(layer.last_used), layer.digest));
    Ok(layers)
}

pub(super) async fn run(disk: &DiskTier, json: bool) -> Result<()> {
    let layers = layers(disk).await?;
    if json {
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| {
                json!({
                    "digest": layer.digest.to_string(),
                    "bytes": layer.len,
                    "last_used": layer.last_used.and_then(seconds),
                })
            })
            .collect();
        return output::json(&json!({ "tier": disk.name(), "dir": disk.dir(), "layers": layers }));
    }
    let mut text = String::new();
    for layer in layers {
        writeln!(text, "{}  {:>11}", layer.digest, ByteSize(layer.len))?;
    }
    output::write(text.as_bytes())
}

/// Seconds since the Unix epoch.
pub(super) fn seconds(time: std::time::SystemTime) -> Option<u64> {
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
}

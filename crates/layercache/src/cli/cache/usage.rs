//! `cache usage`: how much the layers take.

use anyhow::Result;
use bytesize::ByteSize;
use layercache::core::LayerSource;
use layercache::disk::DiskTier;
use serde_json::json;

use super::output;

pub(super) async fn run(disk: &DiskTier, json: bool) -> Result<()> {
    let usage = disk.usage().await?;
    if json {
        return output::json(&json!({
            "tier": disk.name(),
            "dir": disk.dir(),
            "layers": usage.layers,
            "bytes": usage.bytes,
            "max_bytes": usage.max_bytes,
            "free_bytes": usage.free_bytes,
            "min_free_bytes": usage.min_free_bytes,
        }));
    }
    let limit = usage
        .max_bytes
        .map_or_else(|| "no limit".to_owned(), |max| ByteSize(max).to_string());
    let text = format!(
        "directory  {}\nlayers     {}\nbytes      {} (limit: {limit})\nfree       {} (kept free: {})\n",
        disk.dir().display(),
        usage.layers,
        ByteSize(usage.bytes),
        ByteSize(usage.free_bytes),
        ByteSize(usage.min_free_bytes),
    );
    output::write(text.as_bytes())
}

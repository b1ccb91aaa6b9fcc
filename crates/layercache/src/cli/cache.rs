//! `cache`: looks after the cache directory.

use anyhow::{Context as _, Result, bail};
use bytesize::ByteSize;
use futures_util::TryStreamExt;
use layercache::core::{Digest, ErrorKind, LayerSource, LayerStat, Tier};
use layercache::disk::{DiskTier, GcReport, Verification};
use serde_json::{Value, json};

use super::args::Cache;
use super::context::Context;
use super::output;

pub(super) async fn run(context: &Context, command: Cache) -> Result<()> {
    let disks = context.stack.disks();
    if disks.is_empty() {
        bail!("the configuration has no tier of the kind `disk`");
    }
    let mut wrong = 0;
    let mut found = false;
    for disk in disks {
        match &command {
            Cache::List(format) => list(disk, format.json).await,
            Cache::Usage(format) => usage(disk, format.json).await,
            Cache::Verify(format) => verify(context, disk, format.json)
                .await
                .map(|count| wrong += count),
            Cache::Gc(gc) => {
                let report = disk.gc(gc.max_bytes.map(|size| size.0)).await?;
                removed(disk, &report, gc.json)
            }
            Cache::Remove(remove) => {
                found |= disk.remove(&remove.digest).await?;
                Ok(())
            }
            Cache::Clear(format) => removed(disk, &disk.clear().await?, format.json),
        }
        .with_context(|| disk.dir().display().to_string())?;
    }
    match wrong {
        0 => {}
        1 => bail!("1 layer was wrong and has been removed: the next pull fetches it again"),
        _ => bail!("{wrong} layers were wrong and have been removed: the next pull fetches them again"),
    }
    if let Cache::Remove(remove) = &command {
        if remove.json {
            output::json(&json!({ "digest": remove.digest.to_string(), "removed": found }))?;
        }
        if !found {
            bail!("layer {} is not in the cache", remove.digest);
        }
        if !remove.json {
            output::write(format!("removed {}\n", remove.digest).as_bytes())?;
        }
    }
    Ok(())
}

async fn layers(disk: &DiskTier) -> Result<Vec<LayerStat>> {
    let mut layers: Vec<LayerStat> = disk.list().try_collect().await?;
    layers.sort_by_key(|layer| (std::cmp::Reverse(layer.last_used), layer.digest));
    Ok(layers)
}

async fn list(disk: &DiskTier, json: bool) -> Result<()> {
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
    let lines: String = layers
        .iter()
        .map(|layer| format!("{}  {:>11}\n", layer.digest, ByteSize(layer.len)))
        .collect();
    output::write(lines.as_bytes())
}

/// Seconds since the Unix epoch.
fn seconds(time: std::time::SystemTime) -> Option<u64> {
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
}

async fn usage(disk: &DiskTier, json: bool) -> Result<()> {
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

/// Verifies every layer and removes those that are wrong; how many these were.
async fn verify(context: &Context, disk: &DiskTier, json: bool) -> Result<usize> {
    let mut wrong = 0;
    for layer in layers(disk).await? {
        let outcome = verify_layer(context, disk, &layer.digest).await?;
        wrong += usize::from(outcome == "corrupt");
        if json {
            output::json(
                &json!({ "digest": layer.digest.to_string(), "bytes": layer.len, "outcome": outcome }),
            )?;
        } else {
            output::write(format!("{}  {outcome}\n", layer.digest).as_bytes())?;
        }
    }
    Ok(wrong)
}

async fn verify_layer(context: &Context, disk: &DiskTier, digest: &Digest) -> Result<&'static str> {
    let bar = context.bars.bytes(digest.hex().chars().take(12).collect());
    let progress = bar.clone();
    let outcome = disk
        .verify(digest, move |hashed| progress.set_position(hashed))
        .await;
    bar.finish_and_clear();
    match outcome {
        Ok(Verification::Intact(_)) => Ok("intact"),
        Ok(Verification::Absent) => Ok("absent"),
        Ok(_) => Ok("unverifiable"),
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            tracing::warn!(%error, "removing a layer that is wrong");
            disk.remove(digest).await?;
            Ok("corrupt")
        }
        Err(error) => Err(error.into()),
    }
}

fn removed(disk: &DiskTier, report: &GcReport, json: bool) -> Result<()> {
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

//! `cache gc` and `cache clear`: remove layers, and say what they have removed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use bytesize::ByteSize;
use layercache::core::{Digest, LayerSource};
use layercache::disk::{DiskContents, DiskTier, GcOptions, GcReport, Standing};
use serde_json::json;

use super::args::Gc;
use super::usage::warn_of_pins;
use super::{Context, each, images, output};

pub(super) async fn run(context: &Context, disks: &[&DiskTier], command: &Gc) -> Result<()> {
    let options = GcOptions::default()
        .with_max_bytes(command.max_bytes.map(|size| size.0))
        .with_older_than(command.older_than)
        .with_keep(kept(context, disks, command).await?)
        .with_dry_run(command.dry_run);
    each(disks, !command.json, async |disk| {
        let report = disk.gc_with(options.clone()).await?;
        let contents = disk.contents().await?;
        print(disk, &report, command.dry_run.then_some(&contents), command.json)?;
        warn_of_pins(disk, &contents);
        Ok(())
    })
    .await
}

pub(super) async fn clear(disk: &DiskTier, json: bool) -> Result<()> {
    print(disk, &disk.clear().await?, None, json)
}

/// The layers of the images that are to be kept, by what any of the directories knows of these. One that nothing is known of is a mistake
/// rather than an image without layers.
async fn kept(context: &Context, disks: &[&DiskTier], command: &Gc) -> Result<Option<BTreeSet<Digest>>> {
    if command.keep.is_empty() {
        return Ok(None);
    }
    let mut records = Vec::new();
    for disk in disks {
        let images = disk.images().await;
        records.extend(images.with_context(|| disk.dir().display().to_string())?);
    }
    let mut layers = BTreeSet::new();
    for location in &command.keep {
        let found = images::of_image(&records, &images::name(location)?, context.platform());
        if found.is_empty() {
            bail!(
                "{location}: nothing is known of this image: pull it, so that its layers can be told from others"
            );
        }
        layers.extend(found.into_iter().flat_map(|record| &record.layers));
    }
    Ok(Some(layers))
}

/// Nothing was removed where there is something that it `would_be_of`.
fn print(disk: &DiskTier, report: &GcReport, would_be_of: Option<&DiskContents>, json: bool) -> Result<()> {
    let dry_run = would_be_of.is_some();
    let there = would_be_of.map_or(&[][..], |contents| &contents.layers);
    let pinned: BTreeSet<_> = there
        .iter()
        .filter(|layer| layer.standing == Standing::Pinned)
        .map(|layer| layer.digest)
        .collect();
    if json {
        let removed = report.removed.iter();
        let removed = removed.map(|(digest, bytes)| {
            let pinned = would_be_of.map(|_| pinned.contains(digest));
            json!({ "digest": digest.to_string(), "bytes": bytes, "pinned": pinned })
        });
        return output::json(&json!({
            "tier": disk.name(),
            "dry_run": dry_run,
            "removed": removed.collect::<Vec<_>>(),
            "removed_layers": report.removed_layers,
            "removed_bytes": report.removed_bytes,
            "removed_leftovers": report.removed_leftovers,
            "removed_quarantined": report.removed_quarantined,
            "removed_images": report.removed_images,
            "layers": report.layers,
            "bytes": report.bytes,
        }));
    }
    let mut text = String::new();
    if dry_run {
        for (digest, bytes) in &report.removed {
            let pinned = if pinned.contains(digest) { "  pinned" } else { "" };
            writeln!(text, "{digest}  {:>11}{pinned}", ByteSize(*bytes))?;
        }
    }
    let removed = if dry_run { "would remove" } else { "removed" };
    let layers = output::count(report.removed_layers, "layer");
    write!(text, "{removed} {layers} ({})", ByteSize(report.removed_bytes))?;
    if report.removed_quarantined > 0 {
        write!(text, ", {} in quarantine", report.removed_quarantined)?;
    }
    if report.removed_images > 0 {
        let images = output::count(report.removed_images, "image");
        write!(text, ", what was remembered of {images}")?;
    }
    if !dry_run {
        write!(
            text,
            " and {}",
            output::count(report.removed_leftovers, "leftover")
        )?;
    }
    let left = output::count(report.layers, "layer");
    writeln!(text, "; left: {left} ({})", ByteSize(report.bytes))?;
    output::write(text.as_bytes())
}

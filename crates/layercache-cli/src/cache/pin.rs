//! `cache pin` and `cache unpin`: whose layers are evicted after all others.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use layercache::core::{Digest, LayerSource};
use layercache::disk::{DiskTier, ImageRecord};
use layercache::registry::{Image, ImageLocation};
use serde_json::json;

use super::args::Images;
use super::usage::warn_of_pins;
use super::{Context, head, images, output};

pub(super) async fn pin(context: &Context, disks: &[&DiskTier], command: &Images) -> Result<()> {
    for location in &command.images {
        let mut image = None;
        for disk in disks {
            head(disks, disk, !command.json)?;
            let pinned = pin_at(context, disk, location, &mut image).await;
            let pinned = pinned.with_context(|| disk.dir().display().to_string())?;
            let contents = disk.contents().await?;
            let cached: BTreeSet<_> = contents.layers.iter().map(|layer| layer.digest).collect();
            for record in pinned {
                print_pinned(disk, &record, &cached, command.json)?;
            }
            warn_of_pins(disk, &contents);
        }
    }
    Ok(())
}

/// Pins what is known of an image, or what it is now where nothing is known; what that is. `image` is looked up once.
async fn pin_at(
    context: &Context,
    disk: &DiskTier,
    location: &ImageLocation,
    image: &mut Option<Image>,
) -> Result<Vec<ImageRecord>> {
    let known = disk.images().await?;
    let mut pinned = Vec::new();
    for record in images::of_image(&known, &images::name(location)?, context.platform()) {
        pinned.extend(disk.pin_image(&record.name, &record.platform).await?);
    }
    if pinned.is_empty() {
        let image = match image {
            Some(image) => image,
            None => image.insert(context.resolve(location).await?),
        };
        let record = images::record(location, image)?.with_pinned(true);
        disk.record_image(record.clone()).await?;
        pinned.push(record);
    }
    Ok(pinned)
}

fn print_pinned(disk: &DiskTier, record: &ImageRecord, cached: &BTreeSet<Digest>, json: bool) -> Result<()> {
    // An image may have a layer twice.
    let mut seen = BTreeSet::new();
    let layers: Vec<_> = record
        .layers
        .iter()
        .filter(|digest| seen.insert(**digest))
        .collect();
    let missing = layers.iter().filter(|digest| !cached.contains(digest));
    let missing: Vec<String> = missing.map(|digest| digest.to_string()).collect();
    if json {
        return output::json(&json!({
            "tier": disk.name(),
            "image": record.name,
            "platform": record.platform,
            "pinned": true,
            "layers": layers.len(),
            "missing": missing,
        }));
    }
    let layers = output::count(layers.len() as u64, "layer");
    let mut text = format!("pinned {} ({}): {layers}", record.name, record.platform);
    if !missing.is_empty() {
        let missing = missing.join(", ");
        text.push_str(&format!("; pull it to bring what is missing: {missing}"));
    }
    text.push('\n');
    output::write(text.as_bytes())
}

/// Needs no registry: what is pinned stands in the records.
pub(super) async fn unpin(context: &Context, disks: &[&DiskTier], command: &Images) -> Result<()> {
    let mut not_pinned = Vec::new();
    for location in &command.images {
        let name = images::name(location)?;
        let mut found = false;
        for disk in disks {
            let at = || disk.dir().display().to_string();
            let records = disk.images().await.with_context(at)?;
            for record in images::of_image(&records, &name, context.platform()) {
                let unpinned = disk.unpin_image(&record.name, &record.platform).await;
                if !unpinned.with_context(at)? {
                    continue;
                }
                found = true;
                head(disks, disk, !command.json)?;
                if command.json {
                    output::json(&json!({
                        "tier": disk.name(),
                        "image": record.name,
                        "platform": record.platform,
                        "pinned": false,
                    }))?;
                } else {
                    let line = format!("unpinned {} ({})\n", record.name, record.platform);
                    output::write(line.as_bytes())?;
                }
            }
        }
        if !found {
            not_pinned.push(name);
        }
    }
    if !not_pinned.is_empty() {
        bail!("not pinned: {}", not_pinned.join(", "));
    }
    Ok(())
}

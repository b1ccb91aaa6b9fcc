//! `cache usage`: how much the layers take, of which images they are, and what would be evicted next.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::SystemTime;

use anyhow::Result;
use bytesize::ByteSize;
use layercache::core::{Digest, LayerSource};
use layercache::disk::{CachedLayer, DiskContents, DiskTier, ImageRecord, Standing};
use serde_json::{Value, json};

use super::list::seconds;
use super::output;

/// How many of the layers that would be evicted next are shown; JSON has all.
const SHOWN: usize = 5;

pub(super) async fn run(disk: &DiskTier, json: bool) -> Result<()> {
    let contents = disk.contents().await?;
    let images = Images::of(&contents);
    if json {
        output::json(&to_json(disk, &contents, &images))?;
    } else {
        output::write(to_text(disk, &contents, &images)?.as_bytes())?;
    }
    warn_of_pins(disk, &contents);
    Ok(())
}

/// How many layers, and how many bytes these take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) layers: u64,
    pub(super) bytes: u64,
}

impl<'a> FromIterator<&'a CachedLayer> for Extent {
    fn from_iter<I: IntoIterator<Item = &'a CachedLayer>>(layers: I) -> Self {
        layers.into_iter().fold(Self::default(), |sum, layer| Self {
            layers: sum.layers + 1,
            bytes: sum.bytes + layer.bytes,
        })
    }
}

/// What is pinned.
pub(super) fn pinned(contents: &DiskContents) -> Extent {
    let layers = contents.layers.iter();
    layers
        .filter(|layer| layer.standing == Standing::Pinned)
        .collect()
}

/// Bytes of all layers that are pinned, cached or not; at least, since how long one is shows when it is pulled.
fn pinned_bytes(contents: &DiskContents) -> u64 {
    let mut lengths: BTreeMap<&Digest, u64> = BTreeMap::new();
    for image in contents.images.iter().filter(|image| image.pinned) {
        lengths.extend(image.layers.iter().zip(image.lengths.iter().copied()));
    }
    let cached = contents.layers.iter();
    let pinned = cached.filter(|layer| layer.standing == Standing::Pinned);
    lengths.extend(pinned.map(|layer| (&layer.digest, layer.bytes)));
    // What stands in a record may be anything.
    lengths.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
}

/// Pins that leave no room for anything else are a mistake that shows late: what is cached of them never is more than the quota.
pub(super) fn warn_of_pins(disk: &DiskTier, contents: &DiskContents) {
    let pinned = pinned_bytes(contents);
    if let Some(max) = contents.usage.max_bytes.filter(|max| pinned > *max) {
        tracing::warn!(
            tier = disk.name(),
            pinned_total_bytes = pinned,
            max_bytes = max,
            "what is pinned is more than the quota: pinned layers are evicted as well; unpin images or raise `max_bytes`"
        );
    }
}

/// Which layers are whose.
struct Images<'a> {
    of: Vec<ImageUsage<'a>>,
    /// Layers that no image has which is remembered.
    of_none: Extent,
}

struct ImageUsage<'a> {
    record: &'a ImageRecord,
    /// Different layers that the image has, cached or not.
    layers: usize,
    cached: Extent,
    /// Those of `cached` that other images have as well.
    shared: Extent,
    last_used: Option<SystemTime>,
}

impl<'a> Images<'a> {
    fn of(contents: &'a DiskContents) -> Self {
        let cached: BTreeMap<&Digest, &CachedLayer> = contents
            .layers
            .iter()
            .map(|layer| (&layer.digest, layer))
            .collect();
        let layers: Vec<BTreeSet<&Digest>> = contents
            .images
            .iter()
            .map(|image| image.layers.iter().collect())
            .collect();
        let mut owners = BTreeMap::<&Digest, usize>::new();
        for digest in layers.iter().flatten() {
            *owners.entry(digest).or_default() += 1;
        }
        let usage = |(record, layers): (&'a ImageRecord, &BTreeSet<&Digest>)| {
            let here = || layers.iter().filter_map(|digest| cached.get(digest).copied());
            ImageUsage {
                record,
                layers: layers.len(),
                cached: here().collect(),
                shared: here().filter(|layer| owners[&layer.digest] > 1).collect(),
                last_used: here().map(|layer| layer.last_used).max(),
            }
        };
        let of_none = contents
            .layers
            .iter()
            .filter(|layer| !owners.contains_key(&layer.digest));
        Self {
            of: contents.images.iter().zip(&layers).map(usage).collect(),
            of_none: of_none.collect(),
        }
    }
}

fn to_json(disk: &DiskTier, contents: &DiskContents, images: &Images<'_>) -> Value {
    let DiskContents { usage, layers, .. } = contents;
    let image = |image: &ImageUsage<'_>| {
        json!({
            "image": image.record.name,
            "platform": image.record.platform,
            "digest": image.record.manifest.map(|digest| digest.to_string()),
            "pinned": image.record.pinned,
            "layers": image.layers,
            "cached_layers": image.cached.layers,
            "bytes": image.cached.bytes,
            "shared_bytes": image.shared.bytes,
            "last_used": image.last_used.and_then(seconds),
        })
    };
    let next = |layer: &CachedLayer| {
        json!({
            "digest": layer.digest.to_string(),
            "bytes": layer.bytes,
            "last_used": seconds(layer.last_used),
            "standing": standing(layer.standing),
        })
    };
    let pinned = pinned(contents);
    json!({
        "tier": disk.name(),
        "dir": disk.dir(),
        "layers": usage.layers,
        "bytes": usage.bytes,
        "max_bytes": usage.max_bytes,
        "free_bytes": usage.free_bytes,
        "min_free_bytes": usage.min_free_bytes,
        "pinned_layers": pinned.layers,
        "pinned_bytes": pinned.bytes,
        "pinned_total_bytes": pinned_bytes(contents),
        "quarantined_layers": usage.quarantined_layers,
        "quarantined_bytes": usage.quarantined_bytes,
        "images": images.of.iter().map(image).collect::<Vec<_>>(),
        "unattributed_layers": images.of_none.layers,
        "unattributed_bytes": images.of_none.bytes,
        "eviction_order": layers.iter().map(next).collect::<Vec<_>>(),
    })
}

fn to_text(disk: &DiskTier, contents: &DiskContents, images: &Images<'_>) -> Result<String> {
    let usage = &contents.usage;
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
        disk.dir().display(),
        usage.layers,
        ByteSize(usage.bytes),
        ByteSize(usage.free_bytes),
        ByteSize(usage.min_free_bytes),
    );
    let (pinned, all) = (pinned(contents), pinned_bytes(contents));
    if all > 0 {
        let layers = output::count(pinned.layers, "layer");
        write!(
            text,
            "pinned     {} in {layers}, evicted last",
            ByteSize(pinned.bytes)
        )?;
        match all > pinned.bytes {
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
    if !images.of.is_empty() {
        text.push_str(
            "\nimages, with the bytes that they share with others, and the layers that are cached\n",
        );
    }
    for image in &images.of {
        let ImageRecord {
            name,
            platform,
            pinned,
            ..
        } = image.record;
        writeln!(
            text,
            "  {name} ({platform})  {}, {} shared, {} of {}{}",
            ByteSize(image.cached.bytes),
            ByteSize(image.shared.bytes),
            image.cached.layers,
            output::count(image.layers as u64, "layer"),
            if *pinned { ", pinned" } else { "" }
        )?;
    }
    if !images.of.is_empty() && images.of_none.layers > 0 {
        let layers = output::count(images.of_none.layers, "layer");
        writeln!(
            text,
            "  of no image  {}, {layers}",
            ByteSize(images.of_none.bytes)
        )?;
    }
    if !contents.layers.is_empty() {
        text.push_str("\nevicted next\n");
    }
    for layer in contents.layers.iter().take(SHOWN) {
        let (bytes, why) = (ByteSize(layer.bytes), in_words(layer.standing));
        writeln!(text, "  {}  {bytes:>11}  {why}", layer.digest)?;
    }
    if let Some(more) = contents.layers.len().checked_sub(SHOWN).filter(|more| *more > 0) {
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

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Probation => "probation",
        Standing::InUse => "in use",
        Standing::Open => "open",
        Standing::Pinned => "pinned",
        _ => "other",
    }
}

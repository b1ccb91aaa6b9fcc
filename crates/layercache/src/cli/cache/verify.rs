//! `cache verify`: hashes the layers again, and removes those that are wrong; or keeps them aside, or fetches them anew.

use anyhow::{Context as _, Result, bail};
use indicatif::ProgressBar;
use layercache::core::{Digest, ErrorKind, LayerDescriptor, LayerStat, Tier};
use layercache::disk::{DiskTier, ImageRecord, Verification};
use layercache::registry::{ImageLocation, Platform};
use serde_json::json;

use super::args::Verify;
use super::list::layers;
use super::{Context, output, pull};

/// How many layers were wrong, and how many of these were fetched anew.
#[derive(Default)]
struct Wrong {
    found: u64,
    refetched: u64,
}

/// What became of a layer.
struct Outcome {
    verdict: &'static str,
    /// What was done about it: `removed`, `quarantined` or `refetched`.
    action: Option<&'static str>,
    /// Why it could not be fetched anew.
    error: Option<String>,
}

pub(super) async fn run(context: &Context, disks: &[&DiskTier], command: &Verify) -> Result<()> {
    let mut wrong = Wrong::default();
    for disk in disks {
        let verified = verify_all(context, disk, command, &mut wrong).await;
        verified.with_context(|| disk.dir().display().to_string())?;
    }
    let Wrong { found, refetched } = wrong;
    let were = match found {
        0 => return Ok(()),
        1 => "1 layer was wrong and".to_owned(),
        _ => format!("{found} layers were wrong and"),
    };
    let (has, it) = if found == 1 {
        ("has", "it")
    } else {
        ("have", "them")
    };
    let gone = if command.quarantine {
        format!("{has} been put into quarantine")
    } else {
        format!("{has} been removed")
    };
    if command.refetch && refetched == found {
        bail!("{were} {gone} and fetched anew");
    }
    if command.refetch {
        bail!("{were} {gone}; {} could not be fetched anew", found - refetched);
    }
    bail!("{were} {gone}: the next pull fetches {it} again");
}

async fn verify_all(context: &Context, disk: &DiskTier, command: &Verify, wrong: &mut Wrong) -> Result<()> {
    let layers = layers(disk).await?;
    let total = context
        .bars
        .total("verified", layers.iter().map(|layer| layer.len).sum());
    for (number, layer) in layers.iter().enumerate() {
        total.set_message(format!("layer {} of {}", number + 1, layers.len()));
        let outcome = verify_layer(context, disk, layer, command, &total).await?;
        wrong.found += u64::from(outcome.verdict == "corrupt");
        wrong.refetched += u64::from(outcome.action == Some("refetched"));
        context.bars.suspend(|| print(layer, &outcome, command.json))?;
    }
    total.finish_and_clear();
    Ok(())
}

async fn verify_layer(
    context: &Context,
    disk: &DiskTier,
    layer: &LayerStat,
    command: &Verify,
    total: &ProgressBar,
) -> Result<Outcome> {
    let bar = context.bars.bytes(layer.digest.hex().chars().take(12).collect());
    let (before, hashing, all) = (total.position(), bar.clone(), total.clone());
    let verified = disk
        .verify(&layer.digest, move |hashed| {
            hashing.set_position(hashed);
            all.set_position(before + hashed);
        })
        .await;
    bar.finish_and_clear();
    total.set_position(before + layer.len);
    let verdict = match verified {
        Ok(Verification::Intact(_)) => "intact",
        Ok(Verification::Absent) => "absent",
        Ok(_) => "unverifiable",
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            return wrong(context, disk, &layer.digest, command, &error).await;
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Outcome {
        verdict,
        action: None,
        error: None,
    })
}

/// Puts a wrong layer out of the way of readers, before anything else.
async fn wrong(
    context: &Context,
    disk: &DiskTier,
    digest: &Digest,
    command: &Verify,
    error: &layercache::core::Error,
) -> Result<Outcome> {
    // What it should have been, which its index knows that goes with it; without that an image may know.
    let index = disk.index(digest).await.ok().flatten();
    let diff_id = index.map(|index| *index.diff_id());
    let quarantined = command.quarantine && {
        tracing::warn!(%error, "putting a layer that is wrong into quarantine");
        let moved = disk.quarantine(digest).await;
        if let Err(error) = &moved {
            tracing::warn!(%error, "there is no quarantine for it");
        }
        moved.is_ok()
    };
    if !quarantined {
        tracing::warn!(%error, "removing a layer that is wrong");
        disk.remove(digest).await?;
    }
    let action = if quarantined { "quarantined" } else { "removed" };
    let refetched = match command.refetch {
        true => refetch(context, disk, digest, diff_id)
            .await
            .map(|()| "refetched"),
        false => Ok(action),
    };
    Ok(Outcome {
        verdict: "corrupt",
        error: refetched.as_ref().err().map(|error| format!("{error:#}")),
        action: Some(refetched.unwrap_or(action)),
    })
}

/// Fetches a layer anew: as one of an image that is remembered, or, where there is none, from a tier that needs not know of which.
async fn refetch(context: &Context, disk: &DiskTier, digest: &Digest, diff_id: Option<Digest>) -> Result<()> {
    let images = disk.images().await?;
    let mut failed = None;
    for image in images.iter().filter(|image| image.layers.contains(digest)) {
        let found = find(context, image, digest).await;
        match bring(context, found).await {
            Ok(()) => return Ok(()),
            Err(error) => failed = Some(error),
        }
    }
    let mut alone = LayerDescriptor::new(*digest);
    alone.diff_id = diff_id;
    let brought = bring(context, Ok(alone)).await;
    // Why an image could not give it says more than that nobody else has it.
    brought.map_err(|error| failed.unwrap_or(error))
}

async fn bring(context: &Context, layer: Result<LayerDescriptor>) -> Result<()> {
    pull::bring_layer(context, &layer?).await.map(drop)
}

/// The layer as the image describes it, whose manifest is asked for by its digest where it has one: a tag may mean another by now.
async fn find(context: &Context, image: &ImageRecord, digest: &Digest) -> Result<LayerDescriptor> {
    let mut location: ImageLocation = image.name.parse()?;
    if let (ImageLocation::Registry(reference), Some(manifest)) = (&location, &image.manifest) {
        location = format!("{}@{manifest}", reference.repository()).parse()?;
    }
    let platform = image.platform.parse().unwrap_or_else(|_| Platform::host());
    let found = context.stack.resolve(&location, &platform).await;
    let found = found.with_context(|| location.to_string())?;
    let layer = found.layers.into_iter().find(|layer| layer.digest == *digest);
    layer.with_context(|| format!("{location} has no layer {digest} any more"))
}

fn print(layer: &LayerStat, outcome: &Outcome, json: bool) -> Result<()> {
    let Outcome {
        verdict,
        action,
        error,
    } = outcome;
    if json {
        return output::json(&json!({
            "digest": layer.digest.to_string(),
            "bytes": layer.len,
            "outcome": verdict,
            "action": action,
            "error": error,
        }));
    }
    let mut line = format!("{}  {verdict}", layer.digest);
    if let Some(action) = action {
        line.push_str(&format!(", {action}"));
    }
    if let Some(error) = error {
        line.push_str(&format!(", not fetched anew: {error}"));
    }
    line.retain(|c| !c.is_control());
    line.push('\n');
    output::write(line.as_bytes())
}

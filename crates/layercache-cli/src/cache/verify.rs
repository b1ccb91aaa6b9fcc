//! `cache verify`: hashes the layers again, and removes those that are wrong; or keeps them aside, or fetches them anew.

use anyhow::{Context as _, Result, bail};
use indicatif::ProgressBar;
use layercache::core::{Digest, Error, ErrorKind, LayerSource, LayerStat, Tier};
use layercache::disk::{DiskTier, Verification};
use serde_json::json;

use super::args::Verify;
use super::list::layers;
use super::refetch::Refetch;
use super::{Context, head, output};

/// What became of a layer.
#[derive(Default)]
struct Outcome {
    verdict: &'static str,
    /// Where wrong bytes are now: `removed`, `quarantined`, or `left` where they cannot be removed.
    action: Option<&'static str>,
    /// Whether it was fetched anew; `None` where nobody tried.
    refetched: Option<bool>,
    /// Why it could not be read, removed or fetched anew.
    error: Option<String>,
}

/// How many layers came out how.
#[derive(Default)]
struct Tally {
    quarantined: u64,
    removed: u64,
    left: u64,
    not_refetched: u64,
    unreadable: u64,
}

pub(super) async fn run(context: &Context, disks: &[&DiskTier], command: &Verify) -> Result<()> {
    let mut tally = Tally::default();
    let mut refetch = command.refetch.then(|| Refetch::new(context));
    for disk in disks {
        head(disks, disk, !command.json)?;
        let verified = verify_all(context, disk, command, refetch.as_mut(), &mut tally).await;
        verified.with_context(|| disk.dir().display().to_string())?;
    }
    tally.end(command.refetch)
}

async fn verify_all(
    context: &Context,
    disk: &DiskTier,
    command: &Verify,
    mut refetch: Option<&mut Refetch<'_>>,
    tally: &mut Tally,
) -> Result<()> {
    let layers = layers(disk).await?;
    let total = context
        .bars
        .total("verified", layers.iter().map(|layer| layer.len).sum());
    let mut kept = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        total.set_message(format!("layer {} of {}", number + 1, layers.len()));
        let outcome = match verify_layer(context, disk, layer, &total).await {
            Ok(verdict) => Outcome {
                verdict,
                ..Outcome::default()
            },
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                wrong(disk, &layer.digest, command, refetch.as_deref_mut(), &error).await?
            }
            // A sector that is lost says nothing of the other layers.
            Err(error) => {
                let error = output::error_line(&error);
                tracing::error!(error, "a layer could not be read");
                Outcome {
                    verdict: "unreadable",
                    error: Some(error),
                    ..Outcome::default()
                }
            }
        };
        if outcome.action == Some("quarantined") {
            kept.push(layer.digest);
        }
        tally.add(&outcome);
        context
            .bars
            .suspend(|| print(disk, layer, &outcome, command.json))?;
    }
    total.finish_and_clear();
    for digest in kept {
        if matches!(disk.is_quarantined(&digest).await, Ok(false)) {
            tracing::warn!(%digest, "what was wrong of the layer had to make room for others: it is no longer in quarantine");
            tally.quarantined -= 1;
            tally.removed += 1;
        }
    }
    Ok(())
}

async fn verify_layer(
    context: &Context,
    disk: &DiskTier,
    layer: &LayerStat,
    total: &ProgressBar,
) -> Result<&'static str, Error> {
    let bar = context.bars.layer(&layer.digest);
    let (before, hashing, all) = (total.position(), bar.clone(), total.clone());
    let verified = disk
        .verify(&layer.digest, move |hashed| {
            hashing.set_position(hashed);
            all.set_position(before + hashed);
        })
        .await;
    bar.finish_and_clear();
    total.set_position(before + layer.len);
    Ok(match verified? {
        Verification::Intact(_) => "intact",
        Verification::Absent => "absent",
        _ => "unverifiable",
    })
}

/// Puts a wrong layer out of the way of readers, before anything else.
async fn wrong(
    disk: &DiskTier,
    digest: &Digest,
    command: &Verify,
    refetch: Option<&mut Refetch<'_>>,
    error: &Error,
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
        moved.unwrap_or(false)
    };
    if !quarantined {
        tracing::warn!(%error, "removing a layer that is wrong");
        if let Err(error) = disk.remove(digest).await {
            return Ok(Outcome {
                verdict: "corrupt",
                action: Some("left"),
                error: Some(output::error_line(&error)),
                ..Outcome::default()
            });
        }
    }
    let refetched = match refetch {
        Some(refetch) => Some(refetch.layer(disk, digest, diff_id).await),
        None => None,
    };
    // Where there was no other room, the right one has taken that of the wrong one.
    let is_kept = quarantined && disk.is_quarantined(digest).await.unwrap_or(false);
    Ok(Outcome {
        verdict: "corrupt",
        action: Some(if is_kept { "quarantined" } else { "removed" }),
        refetched: refetched.as_ref().map(Result::is_ok),
        error: refetched.and_then(Result::err).as_ref().map(output::one_line),
    })
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        self.quarantined += u64::from(outcome.action == Some("quarantined"));
        self.removed += u64::from(outcome.action == Some("removed"));
        self.left += u64::from(outcome.action == Some("left"));
        self.not_refetched += u64::from(outcome.refetched == Some(false));
        self.unreadable += u64::from(outcome.verdict == "unreadable");
    }

    /// Fails for what was found, in words that say what came of it.
    fn end(self, refetch: bool) -> Result<()> {
        let some = |layers: u64, what: &str| {
            (layers > 0).then(|| format!("{} {what}", output::count(layers, "layer")))
        };
        let left = some(
            self.left,
            "could not be removed though wrong: mend what the lines above say, and run this again",
        );
        let unreadable = some(
            self.unreadable,
            "could not be read: `cache remove` what is lost, and replace the disk",
        );
        let found: Vec<_> = [self.in_words(refetch), left, unreadable]
            .into_iter()
            .flatten()
            .collect();
        if !found.is_empty() {
            bail!("{}", found.join("; "));
        }
        Ok(())
    }

    /// What became of the layers that were wrong, if any were.
    fn in_words(&self, refetch: bool) -> Option<String> {
        let found = self.quarantined + self.removed;
        let (was, has, it) = match found {
            0 => return None,
            1 => ("was", "has", "it"),
            _ => ("were", "have", "them"),
        };
        let gone = match (self.quarantined, self.removed) {
            (_, 0) => format!("{has} been put into quarantine"),
            (0, _) => format!("{has} been removed"),
            (quarantined, removed) => {
                format!("have been put into quarantine ({quarantined}) or removed ({removed})")
            }
        };
        let then = match self.not_refetched {
            _ if !refetch => format!(": the next pull fetches {it} again"),
            0 => " and fetched anew".to_owned(),
            failed => format!("; {failed} could not be fetched anew"),
        };
        Some(format!(
            "{} {was} wrong and {gone}{then}",
            output::count(found, "layer")
        ))
    }
}

fn print(disk: &DiskTier, layer: &LayerStat, outcome: &Outcome, json: bool) -> Result<()> {
    let Outcome {
        verdict,
        action,
        refetched,
        error,
    } = outcome;
    if json {
        return output::json(&json!({
            "tier": disk.name(),
            "digest": layer.digest.to_string(),
            "bytes": layer.len,
            "outcome": verdict,
            "action": action,
            "refetched": refetched,
            "error": error,
        }));
    }
    let mut line = format!("{}  {verdict}", layer.digest);
    if let Some(action) = action {
        line.push_str(&format!(", {action}"));
    }
    match refetched {
        Some(true) => line.push_str(", fetched anew"),
        Some(false) => line.push_str(", not fetched anew"),
        None => {}
    }
    if let Some(error) = error {
        line.push_str(&format!(": {error}"));
    }
    output::write(format!("{}\n", output::plain(&line)).as_bytes())
}

//! `push`: copies layers that are cached here to the tiers that workers share.

use anyhow::{Context as _, Result, bail};
use layercache::core::{Error, LayerDescriptor};
use layercache::registry::ImageLocation;
use serde_json::json;

use super::args::Push;
use super::context::Context;
use super::output;

/// What came of one layer at one tier.
struct Outcome<'a> {
    tier: &'a str,
    /// Whether it was written now; `false` where it was there.
    written: Result<bool, Error>,
}

pub(super) async fn run(context: &Context, command: Push) -> Result<()> {
    let shared = context.stack.shared_tiers();
    if shared.is_empty() {
        bail!(
            "the configuration has no shared tier that may be written, as those of the kinds `redis` and `s3` are: add one"
        );
    }
    let mut failures = Failures::default();
    for location in &command.images {
        let image = context.resolve(location).await?;
        for (number, layer) in image.layers.iter().enumerate() {
            let outcomes = match push(context, layer, &shared).await {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    if command.json {
                        output::json(&layer_to_json(location, number, layer, &[], Some(&error)))?;
                    }
                    failures.add(error);
                    continue;
                }
            };
            if command.json {
                output::json(&layer_to_json(location, number, layer, &outcomes, None))?;
            } else {
                let lines: String = outcomes.iter().map(|outcome| to_line(layer, outcome)).collect();
                output::write(lines.as_bytes())?;
            }
            outcomes
                .into_iter()
                .filter_map(|outcome| outcome.written.err())
                .for_each(|error| failures.add(error));
        }
    }
    failures.end()
}

/// In the order of the tiers. A tier that the layer was copied from has it.
async fn push<'a>(
    context: &Context,
    layer: &LayerDescriptor,
    shared: &[&'a str],
) -> Result<Vec<Outcome<'a>>, Error> {
    let bar = context.bars.layer(&layer.digest);
    let published = context.stack.cache().publish(layer).await;
    bar.finish_and_clear();
    let mut published = published?;
    let outcome = |&tier| {
        let at = published.iter().position(|publication| publication.tier == tier);
        let written = at.map_or(Ok(false), |at| published.swap_remove(at).written);
        Outcome { tier, written }
    };
    Ok(shared.iter().map(outcome).collect())
}

fn to_line(layer: &LayerDescriptor, Outcome { tier, written }: &Outcome<'_>) -> String {
    let what = match written {
        Ok(true) => "written",
        Ok(false) => "already there",
        Err(_) => "failed",
    };
    format!("{}  {tier}  {what}\n", layer.digest)
}

fn layer_to_json(
    location: &ImageLocation,
    number: usize,
    layer: &LayerDescriptor,
    outcomes: &[Outcome<'_>],
    error: Option<&Error>,
) -> serde_json::Value {
    json!({
        "image": location.to_string(),
        "layer": number,
        "digest": layer.digest.to_string(),
        "tiers": outcomes.iter().map(to_json).collect::<Vec<_>>(),
        "error": error.map(output::error_line),
    })
}

fn to_json(Outcome { tier, written }: &Outcome<'_>) -> serde_json::Value {
    let outcome = match written {
        Ok(true) => "written",
        Ok(false) => "present",
        Err(_) => "failed",
    };
    json!({ "tier": tier, "outcome": outcome, "error": written.as_ref().err().map(output::error_line) })
}

/// What went wrong: the first is told, the others are counted.
#[derive(Default)]
struct Failures {
    first: Option<Error>,
    more: u64,
}

impl Failures {
    fn add(&mut self, error: Error) {
        match self.first {
            None => self.first = Some(error),
            Some(_) => self.more += 1,
        }
    }

    fn end(self) -> Result<()> {
        match (self.first, self.more) {
            (None, _) => Ok(()),
            (Some(error), 0) => Err(error.into()),
            (Some(error), more) => {
                let more = output::count(more, "more failure");
                Err(error).with_context(|| format!("{more} after the first"))
            }
        }
    }
}

//! `cache`: looks after the cache directories.

mod removal;
mod usage;

use anyhow::Result;
use bytesize::ByteSize;
use layercache::disk::GcOptions;
use layercache::ops::{
    self, Action, Event, ListReport, OpsError, PinReport, Verdict, VerifiedLayer, VerifyOptions,
};

use super::args::{Cache, Json};
use super::context::Context;
use super::output;

pub(super) async fn run(context: &Context, command: Cache) -> Result<()> {
    let platform = context.platform();
    let printer = Printer::new(context, &command);
    let print = |event: Event<'_>| printer.print(event);
    let failure = context.run(print, async |stack, progress| -> Result<_, OpsError> {
        Ok(match command {
            Cache::List(_) => ops::list(stack, progress).await.map(|_| None)?,
            Cache::Usage(_) => ops::usage(stack, progress).await.map(|_| None)?,
            Cache::Verify(verify) => {
                let options = VerifyOptions::default()
                    .with_quarantine(verify.quarantine)
                    .with_refetch(verify.refetch);
                ops::verify(stack, options, progress).await?.failure()
            }
            Cache::Gc(gc) => {
                let options = GcOptions::default()
                    .with_max_bytes(gc.max_bytes.map(|size| size.0))
                    .with_older_than(gc.older_than)
                    .with_dry_run(gc.dry_run);
                let removed = ops::gc(stack, options, &gc.keep, platform, progress).await;
                removed.map(|_| None)?
            }
            Cache::Pin(pin) => {
                let pinned = ops::pin(stack, &pin.images, platform, progress).await;
                pinned.map(|_| None)?
            }
            Cache::Unpin(unpin) => {
                let unpinned = ops::unpin(stack, &unpin.images, platform, progress).await?;
                unpinned.failure()
            }
            Cache::Remove(remove) => ops::remove(stack, &remove.digest, progress).await?.failure(),
            Cache::Clear(_) => ops::clear(stack, progress).await.map(|_| None)?,
        })
    });
    output::end(failure.await??)
}

/// Prints the reports of one command.
struct Printer {
    json: bool,
    /// Prints the directory above its reports, as `ls` does: for several directories, unless the
    /// reports name it.
    headed: bool,
}

impl Printer {
    fn new(context: &Context, command: &Cache) -> Self {
        let json = match command {
            Cache::List(Json { json }) | Cache::Usage(Json { json }) | Cache::Clear(Json { json }) => *json,
            Cache::Verify(verify) => verify.json,
            Cache::Gc(gc) => gc.json,
            Cache::Pin(images) | Cache::Unpin(images) => images.json,
            Cache::Remove(remove) => remove.json,
        };
        let is_named = json || matches!(command, Cache::Usage(_));
        let headed = !is_named && context.stack.disks().len() > 1;
        Self { json, headed }
    }

    fn print(&self, event: Event<'_>) -> Result<()> {
        if self.json {
            return match event {
                Event::Listed(report) => output::json(report),
                Event::Measured(report) => output::json(report),
                Event::LayerVerified(report) => output::json(report),
                Event::Removed(report) => output::json(report),
                Event::Pinned(report) => output::json(report),
                Event::LayerRemoved(report) => output::json(report),
                _ => Ok(()),
            };
        }
        let text = match event {
            Event::Directory(dir) if self.headed => format!("{}:\n", dir.display()),
            Event::Listed(report) => list_to_text(report),
            Event::Measured(report) => usage::to_text(report)?,
            Event::LayerVerified(report) => verified_to_line(report),
            Event::Removed(report) => removal::to_text(report)?,
            Event::Pinned(report) => pin_to_line(report),
            Event::LayerRemoved(report) if report.removed => format!("removed {}\n", report.digest),
            _ => return Ok(()),
        };
        output::write(text.as_bytes())
    }
}

fn list_to_text(report: &ListReport) -> String {
    let line = |layer: &ops::ListedLayer| format!("{}  {:>11}\n", layer.digest, ByteSize(layer.bytes));
    report.layers.iter().map(line).collect()
}

fn pin_to_line(report: &PinReport) -> String {
    let PinReport { image, platform, .. } = report;
    let (Some(layers), Some(missing)) = (report.layers, &report.missing) else {
        return format!("unpinned {image} ({platform})\n");
    };
    let layers = output::count(layers as u64, "layer");
    let mut text = format!("pinned {image} ({platform}): {layers}");
    if !missing.is_empty() {
        let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "; pull it to bring what is missing: {}",
            missing.join(", ")
        ));
    }
    text + "\n"
}

fn verified_to_line(layer: &VerifiedLayer) -> String {
    let verdict = match layer.outcome {
        Verdict::Intact => "intact",
        Verdict::Corrupt => "corrupt",
        Verdict::Unreadable => "unreadable",
        Verdict::Unverifiable => "unverifiable",
        Verdict::Absent => "absent",
    };
    let action = match layer.action {
        Some(Action::Removed) => ", removed",
        Some(Action::Quarantined) => ", quarantined",
        Some(Action::Left) => ", left",
        None => "",
    };
    let refetched = match layer.refetched {
        Some(true) => ", fetched anew",
        Some(false) => ", not fetched anew",
        None => "",
    };
    let error = layer.error.as_ref();
    let error = error.map_or_else(String::new, |error| format!(": {}", ops::error_line(error)));
    format!("{}  {verdict}{action}{refetched}{error}\n", layer.digest)
}

//! `pull`: brings the layers of images into the cache.

use std::time::Instant;

use anyhow::Result;
use bytesize::ByteSize;
use layercache::ops::{self, Event, PulledLayer};

use super::args::Pull;
use super::context::Context;
use super::output;

pub(super) async fn run(context: &Context, command: Pull) -> Result<()> {
    let print = |event: Event<'_>| match event {
        Event::LayerArrived(layer) if command.json => output::json(layer),
        Event::LayerArrived(layer) => output::write(to_line(layer).as_bytes()),
        _ => Ok(()),
    };
    for location in &command.images {
        let start = Instant::now();
        let pulled = context
            .run(print, async |stack, progress| {
                ops::pull(stack, location, context.platform(), progress).await
            })
            .await??;
        if context.bars.shown() {
            let extent = extent(pulled.layers.len(), pulled.bytes);
            let line = format!("{location}: {extent} in {:.1?}", start.elapsed());
            context.bars.suspend(|| eprintln!("{line}"));
        }
    }
    Ok(())
}

/// Tells the size of an image.
pub(super) fn extent(layers: usize, bytes: u64) -> String {
    format!("{}, {}", output::count(layers as u64, "layer"), ByteSize(bytes))
}

fn to_line(layer: &PulledLayer) -> String {
    let len = ByteSize(layer.bytes);
    let what = if layer.moved_bytes == Some(0) {
        format!("already there, {len}")
    } else {
        let moved = layer
            .moved_bytes
            .map_or_else(|| "?".to_owned(), |moved| ByteSize(moved).to_string());
        let ratio = layer
            .ratio
            .map_or_else(String::new, |ratio| format!(" ({ratio:.2} times)"));
        let copied = match &*layer.copied_to {
            [] => String::new(),
            tiers => format!(", then copied to {}", tiers.join(", ")),
        };
        format!("{moved} moved, {len}{ratio} in {:.1} s{copied}", layer.seconds)
    };
    format!("{}  {}  {what}\n", layer.digest, layer.source)
}

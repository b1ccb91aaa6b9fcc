//! `push`: copies layers that are cached here to the tiers that workers share.

use anyhow::Result;
use layercache::ops::{self, Event, PushOutcome, PushedLayer};

use super::args::Push;
use super::context::Context;
use super::output;

pub(super) async fn run(context: &Context, command: Push) -> Result<()> {
    let print = |event: Event<'_>| match event {
        Event::LayerPushed(layer) if command.json => output::json(layer),
        Event::LayerPushed(layer) => output::write(to_lines(layer).as_bytes()),
        _ => Ok(()),
    };
    let pushed = context.run(print, async |stack, progress| {
        ops::push(stack, &command.images, context.platform(), progress).await
    });
    output::end(pushed.await??.failure())
}

fn to_lines(layer: &PushedLayer) -> String {
    let tiers = layer.tiers.iter().map(|pushed| {
        let what = match pushed.outcome {
            PushOutcome::Written => "written",
            PushOutcome::Present => "already there",
            PushOutcome::Failed => "failed",
        };
        format!("{}  {}  {what}\n", layer.digest, pushed.tier)
    });
    tiers.collect()
}

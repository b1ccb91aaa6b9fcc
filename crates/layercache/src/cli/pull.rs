//! `pull`: brings the layers of images into the cache.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytesize::ByteSize;
use futures_util::{StreamExt, TryStreamExt, stream};
use layercache::core::LayerDescriptor;
use layercache::registry::{Image, ImageLocation};

use super::args::Pull;
use super::brought::Brought;
use super::context::Context;
use super::{images, output};

/// Layers that are opened at once; the cache itself bounds how many are filled.
const MAX_CONCURRENT: usize = 8;
/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(100);

pub(super) async fn run(context: &Context, command: Pull) -> Result<()> {
    for location in &command.images {
        let start = Instant::now();
        let tell = |layer: &Brought| context.bars.suspend(|| layer.print(command.json));
        let pulled = bring(context, location, tell).await?;
        if context.bars.shown() {
            let line = format!("{location}: {} in {:.1?}", pulled.extent(), start.elapsed());
            context.bars.suspend(|| eprintln!("{line}"));
        }
    }
    Ok(())
}

/// An image of which every layer is in the cache.
pub(super) struct Pulled {
    pub(super) image: Image,
    /// Bytes of all layers together.
    pub(super) bytes: u64,
}

impl Pulled {
    /// How much it is, in words.
    pub(super) fn extent(&self) -> String {
        let layers = output::count(self.image.layers.len() as u64, "layer");
        format!("{layers}, {}", ByteSize(self.bytes))
    }
}

/// Brings every layer of an image into the cache, and remembers which these are. Each is told of when it is there.
pub(super) async fn bring(
    context: &Context,
    location: &ImageLocation,
    tell: impl Fn(&Brought) -> Result<()>,
) -> Result<Pulled> {
    let image = context.resolve(location).await?;
    let (tell, layers) = (&tell, image.layers.iter().enumerate());
    let brought: Result<Vec<(usize, u64)>> = stream::iter(layers)
        .map(|(number, layer)| async move {
            let brought = bring_layer(context, layer).await?;
            tell(&brought)?;
            Ok((number, brought.len))
        })
        .buffer_unordered(MAX_CONCURRENT)
        .try_collect()
        .await;
    let lengths = brought.map(|mut brought| {
        brought.sort_unstable();
        brought.into_iter().map(|(_, len)| len).collect::<Vec<_>>()
    });
    // Where one layer has failed, others are there.
    images::remember(context, location, &image, lengths.as_ref().ok().cloned()).await;
    let bytes = lengths.with_context(|| location.to_string())?.iter().sum();
    Ok(Pulled { image, bytes })
}

/// Fills the cache with one layer.
pub(super) async fn bring_layer(context: &Context, layer: &LayerDescriptor) -> Result<Brought> {
    let start = Instant::now();
    let bar = context.bars.layer(&layer.digest);
    let cache = context.stack.cache();
    let mut brought = std::pin::pin!(context.stack.bring(layer));
    let mut arrival = loop {
        tokio::select! {
            arrival = &mut brought => break arrival?,
            () = tokio::time::sleep(TICK) => {
                if let Some(written) = cache.fill_progress(&layer.digest) {
                    bar.set_position(written);
                }
            }
        }
    };
    let mut drained = None;
    let len = match arrival.reader().len() {
        // A tier has all of it: the one that was filled or, where none in front takes it, the one that it was found in.
        Some(len) => len,
        // It is not being kept, or it is wrong: which of both shows once it has been read.
        None => {
            let bytes = arrival.reader().stream(0);
            let len = drain(bytes, |written| bar.set_position(written)).await?;
            // What arrives now may have been put there by this very read.
            drained = arrival.came_from().map(str::to_owned);
            arrival = context.stack.bring(layer).await?;
            if arrival.reader().len().is_none() {
                bail!(
                    "layer {} was read and is right, but no tier keeps it: {}",
                    layer.digest,
                    why_not_kept(context)
                );
            }
            len
        }
    };
    bar.finish_and_clear();
    Ok(Brought::new(
        context,
        layer,
        drained,
        &arrival,
        len,
        start.elapsed(),
    ))
}

fn why_not_kept(context: &Context) -> &'static str {
    if !context.stack.disks().is_empty() {
        "the disk is full, or the layer is larger than `max_bytes`: free space, or raise it"
    } else if context.stack.shared_tiers().is_empty() {
        "the configuration has no tier of the kind `disk`: add one"
    } else {
        "the configuration has no tier of the kind `disk`, and the shared tiers have not taken it"
    }
}

async fn drain(mut bytes: layercache::core::ByteStream, progress: impl Fn(u64)) -> Result<u64> {
    let mut len = 0;
    while let Some(piece) = bytes.next().await {
        len += piece?.len() as u64;
        progress(len);
    }
    Ok(len)
}

//! `pull`: brings the layers of images into the cache.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use bytesize::ByteSize;
use futures_util::{StreamExt, TryStreamExt, stream};
use layercache::core::{LayerDescriptor, LayerSource};
use layercache::disk::Peek;
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
        let image = location.to_string();
        let tell = |number: usize, layer: &Brought| {
            let json = command.json.then_some((&*image, number));
            context.bars.suspend(|| layer.print(json))
        };
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

/// Brings every layer of an image into the cache, and remembers which these are. Each is told of when it is there, with its number from
/// 0, the base.
pub(super) async fn bring(
    context: &Context,
    location: &ImageLocation,
    tell: impl Fn(usize, &Brought) -> Result<()>,
) -> Result<Pulled> {
    let image = context.resolve(location).await?;
    let evictions = || {
        context
            .stack
            .disks()
            .iter()
            .map(|disk| disk.evicted_layers())
            .sum::<u64>()
    };
    let before = evictions();
    let (tell, layers) = (&tell, image.layers.iter().enumerate());
    let brought: Result<Vec<(usize, Brought)>> = stream::iter(layers)
        .map(|(number, layer)| async move {
            let brought = bring_layer(context, layer).await?;
            tell(number, &brought)?;
            Ok((number, brought))
        })
        .buffer_unordered(MAX_CONCURRENT)
        .try_collect()
        .await;
    let brought = brought.map(|mut brought| {
        brought.sort_unstable_by_key(|(number, _)| *number);
        brought
            .into_iter()
            .map(|(_, brought)| brought)
            .collect::<Vec<_>>()
    });
    let lengths = brought
        .as_ref()
        .map(|brought| brought.iter().map(|brought| brought.len).collect::<Vec<_>>());
    // Where one layer has failed, others are there.
    images::remember(context, location, &image, lengths.ok()).await;
    let brought = brought.with_context(|| location.to_string())?;
    if evictions() > before {
        warn_of_evicted(context, location, &image, &brought).await;
    }
    let bytes = brought.iter().map(|brought| brought.len).sum();
    Ok(Pulled { image, bytes })
}

/// An image that does not fit into the quota of a disk makes its own layers give way to each other.
async fn warn_of_evicted(context: &Context, location: &ImageLocation, image: &Image, brought: &[Brought]) {
    for disk in context.stack.disks() {
        // An image may have a layer twice.
        let mut evicted = BTreeSet::new();
        for (layer, brought) in image.layers.iter().zip(brought) {
            let looked = disk.peek(layer).await;
            if brought.tier == disk.name() && matches!(looked, Ok(Peek::Absent | Peek::Refused(_))) {
                evicted.insert(layer.digest);
            }
        }
        if !evicted.is_empty() {
            tracing::warn!(
                tier = disk.name(),
                image = %location,
                evicted = evicted.len(),
                "layers of the image had to make room again for its others, or for other images: raise `max_bytes`, or free space"
            );
        }
    }
}

/// Fills the cache with one layer.
pub(super) async fn bring_layer(context: &Context, layer: &LayerDescriptor) -> Result<Brought> {
    let start = Instant::now();
    let bar = context.bars.layer(&layer.digest);
    let cache = context.stack.cache();
    let mut brought = std::pin::pin!(context.stack.bring(layer));
    let arrival = loop {
        tokio::select! {
            arrival = &mut brought => break arrival?,
            () = tokio::time::sleep(TICK) => {
                if let Some(written) = cache.fill_progress(&layer.digest) {
                    bar.set_position(written);
                }
            }
        }
    };
    let is_fetched_anew = |held: &str| context.stack.is_origin(held);
    if arrival.reader().len().is_none() && !arrival.held_by().is_some_and(is_fetched_anew) {
        // Its fill has failed, and whatever is read of it tells why; or finds it elsewhere, and brings it from there.
        arrival.reader().read_at(0, &mut [0]).await?;
        cache.settled(&layer.digest).await;
    }
    let Some(len) = arrival.reader().len() else {
        let why = match arrival.refused() {
            Some(error) => anyhow::Error::new(error),
            None => anyhow!(why_not_kept(context, arrival.held_by())),
        };
        return Err(why.context(format!("layer {} is not brought: no tier keeps it", layer.digest)));
    };
    bar.finish_and_clear();
    Ok(Brought::new(context, layer, &arrival, len, start.elapsed()))
}

/// Where no tier has said.
fn why_not_kept(context: &Context, held_by: Option<&str>) -> &'static str {
    let sources = context.stack.sources();
    let in_front = sources.iter().take_while(|source| Some(&*source.name) != held_by);
    let disks = context.stack.disks();
    if in_front
        .into_iter()
        .any(|source| disks.iter().any(|disk| disk.name() == source.name))
    {
        "the disk could not be asked for it: the warnings say why, or `config check`"
    } else if !disks.is_empty() {
        "no tier stands in front of the source that has it: put the one of the kind `disk` there"
    } else if context.stack.shared_tiers().is_empty() {
        "the configuration has no tier of the kind `disk`: add one"
    } else {
        "the configuration has no tier of the kind `disk`, and the shared tiers have not taken it"
    }
}

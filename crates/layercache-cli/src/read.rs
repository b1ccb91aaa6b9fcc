//! `read`: prints raw bytes of a decompressed layer.

use anyhow::{Context as _, Result};
use layercache::core::LayerReaderExt;

use super::args::{LayerName, Read};
use super::context::Context;
use super::output;

pub(super) async fn run(context: &Context, command: Read) -> Result<()> {
    let image = context.resolve(&command.image).await?;
    let layer = match command.layer {
        LayerName::Number(number) => image.layers.get(number).with_context(|| {
            format!(
                "{} has {}, counted from 0: there is no layer {number}",
                command.image,
                output::count(image.layers.len() as u64, "layer")
            )
        })?,
        LayerName::Digest(digest) => image
            .layers
            .iter()
            .find(|layer| layer.digest == digest)
            .with_context(|| {
                format!(
                    "{} has no layer {digest}: `inspect` shows which it has",
                    command.image
                )
            })?,
    };
    let reader = context
        .stack
        .open(layer)
        .await
        .with_context(|| command.image.to_string())?;
    let length = command.range.length.unwrap_or(u64::MAX);
    output::copy(reader.stream_range(command.range.offset, length)).await
}

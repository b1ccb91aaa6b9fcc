//! `inspect`: prints the layers and the config of an image.

use std::fmt::Write as _;

use anyhow::Result;
use bytesize::ByteSize;
use layercache::ops;

use super::args::Inspect;
use super::context::Context;
use super::output;

pub(super) async fn run(context: &Context, command: Inspect) -> Result<()> {
    let image = ops::inspect(&context.stack, &command.image, context.platform()).await?;
    if command.json {
        return output::json(&image);
    }
    let mut text = String::new();
    writeln!(text, "image     {}", image.image)?;
    if let Some(digest) = &image.digest {
        writeln!(text, "digest    {digest}")?;
    }
    writeln!(text, "config    {}", image.config_digest)?;
    writeln!(text, "platform  {}", image.platform)?;
    for (number, layer) in image.layers.iter().enumerate() {
        let size = layer
            .size
            .map_or_else(|| "?".to_owned(), |size| ByteSize(size).to_string());
        writeln!(text, "layer {number:<3} {}  {size:>10}", layer.digest)?;
        if let Some(diff_id) = &layer.diff_id {
            writeln!(text, "  diff ID {diff_id}")?;
        }
    }
    output::write(text.as_bytes())
}

//! `inspect`: what an image consists of.

use std::fmt::Write as _;

use anyhow::Result;
use bytesize::ByteSize;
use serde_json::json;

use super::args::Inspect;
use super::context::Context;
use super::output;

pub(super) async fn run(context: &Context, command: Inspect) -> Result<()> {
    let image = context.resolve(&command.image).await?;
    if command.json {
        let layers: Vec<_> = image
            .layers
            .iter()
            .map(|layer| {
                json!({
                    "digest": layer.digest.to_string(),
                    "size": layer.size,
                    "diff_id": layer.diff_id.map(|diff_id| diff_id.to_string()),
                })
            })
            .collect();
        let config: serde_json::Value = serde_json::from_slice(&image.config)?;
        return output::json(&json!({
            "image": command.image.to_string(),
            "repository": &*image.repository,
            "digest": image.manifest_digest.map(|digest| digest.to_string()),
            "media_type": image.media_type,
            "platform": image.platform.to_string(),
            "config_digest": image.config_digest.to_string(),
            "annotations": image.annotations,
            "layers": layers,
            "config": config,
        }));
    }
    let mut text = String::new();
    writeln!(text, "image     {}", command.image)?;
    if let Some(digest) = &image.manifest_digest {
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

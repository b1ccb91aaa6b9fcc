//! `cat`: prints files of an image.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context as _, Result, bail};
use layercache::tree::{FileReader, Follow};

use super::args::Cat;
use super::context::Context;
use super::output;

pub(super) async fn run(context: &Context, command: Cat) -> Result<()> {
    let (image, tree) = context.resolve_tree(&command.image).await?;
    let mut readers = HashMap::new();
    for path in &command.paths {
        let place = || format!("{} in {}", path.display(), command.image);
        let node = tree
            .resolve(path.as_os_str().as_bytes(), Follow::All)
            .with_context(place)?;
        let Some(node) = node else {
            bail!("{}: no such file", place())
        };
        if node.entry().is_dir() {
            bail!("{}: is a directory", place());
        }
        let layer = node.layer();
        let reader = match readers.get(&layer) {
            Some(reader) => std::sync::Arc::clone(reader),
            None => {
                let reader = context
                    .stack
                    .open(&image.layers[layer])
                    .await
                    .with_context(place)?;
                std::sync::Arc::clone(readers.entry(layer).or_insert(reader))
            }
        };
        let file = FileReader::new(reader, node.entry()).with_context(place)?;
        let length = command.range.length.unwrap_or(u64::MAX);
        output::copy(file.stream(command.range.offset, length))
            .await
            .with_context(place)?;
    }
    Ok(())
}

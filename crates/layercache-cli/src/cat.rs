//! `cat`: prints files of an image.

use std::os::unix::ffi::OsStrExt;

use anyhow::{Context as _, Result, bail};
use layercache::tree::Follow;

use super::args::Cat;
use super::context::Context;
use super::output;

pub(super) async fn run(context: &Context, command: Cat) -> Result<()> {
    let image = context.open_image(&command.image).await?;
    for path in &command.paths {
        let place = || format!("{} in {}", path.display(), command.image);
        let node = image
            .stat(path.as_os_str().as_bytes(), Follow::All)
            .with_context(place)?;
        let Some(node) = node else {
            bail!("{}: no such file", place())
        };
        if node.entry().is_dir() {
            bail!("{}: is a directory", place());
        }
        let file = image.open(node.id()).with_context(place)?;
        let length = command.range.length.unwrap_or(u64::MAX);
        output::copy(file.stream(command.range.offset, length))
            .await
            .with_context(place)?;
    }
    Ok(())
}

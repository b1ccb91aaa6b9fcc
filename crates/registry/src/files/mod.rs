//! Origins that read files: OCI layouts and image archives.

mod archive;
mod content;
mod directory;
mod docker_archive;
mod layout;
mod slice;

pub use docker_archive::DockerArchiveOrigin;
pub use layout::LayoutOrigin;

use cache_core::{Error, LayerDescriptor, Result};

use crate::location::split_file_locator;

/// The path in the layer's locator, if that is one of `origin`; `None` where another origin is meant.
fn path_of<'a>(layer: &'a LayerDescriptor, origin: &str) -> Result<Option<&'a str>> {
    let Some(locator) = layer.repository.as_deref() else {
        let hint = format!("the layer has no repository: set it to `{origin}:PATH` to say where to look");
        return Err(Error::permanent(hint));
    };
    Ok(split_file_locator(locator)
        .filter(|(named, _)| *named == origin)
        .map(|(_, path)| path))
}

/// Runs blocking work on files off the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::unavailable("reading a file was cancelled").caused_by(error))?
}

//! The tar index of one layer.

mod builder;
mod encoding;
mod pax;
mod sparse;

use cache_core::{Error, LayerReader, Result};

use crate::{Entry, TreeLimits};

pub use builder::LayerTreeBuilder;
pub(crate) use encoding::is_another_version;

/// How much is read at once while only headers are wanted: large enough that a run of small files costs one read,
/// small enough that the body of a large one is not read for its neighbour's header.
const WINDOW: usize = 128 * 1024;

/// The entries of one layer's tar in the order of the archive, whiteouts included.
///
/// The order is kept because it means something: a later entry replaces an earlier one of the same path, and a hard
/// link means what its target was when the link was made. [`ImageTree`](crate::ImageTree) plays the entries back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerTree {
    entries: Vec<Entry>,
}

impl LayerTree {
    /// The entries in the order of the archive.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The tree of a layer that is in memory.
    ///
    /// # Errors
    /// Those of [`LayerTreeBuilder`].
    pub fn from_bytes(layer: &[u8], limits: &TreeLimits) -> Result<Self> {
        let mut builder = LayerTreeBuilder::new(*limits);
        builder.push(layer)?;
        builder.finish()
    }

    /// Reads the headers through `reader`, skipping the bodies of large files: for a reader whose reads cost about what
    /// they read. Dropping the future cancels the read in progress and leaves nothing behind.
    ///
    /// # Errors
    /// Those of [`LayerTreeBuilder`] and of [`LayerReader::read_at`].
    pub async fn read(reader: &dyn LayerReader, limits: &TreeLimits) -> Result<Self> {
        let mut builder = LayerTreeBuilder::new(*limits);
        let mut window = vec![0; WINDOW];
        while let Some(offset) = builder.skip_body() {
            let read = reader.read_at(offset, &mut window).await?;
            let piece = window.get(..read).ok_or_else(|| {
                Error::corrupt(format!("a read of {WINDOW} bytes at {offset} returned {read}"))
            })?;
            if piece.is_empty() {
                break;
            }
            builder.push(piece)?;
            // Reads from the page cache never wait, so without this a large layer would hold up the runtime's thread.
            tokio::task::consume_budget().await;
        }
        builder.finish()
    }
}

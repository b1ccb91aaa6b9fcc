//! What directory and archive have in common: files by name.

use cache_core::Result;

use super::slice::FileSlice;

/// A set of files that are named with slashes: `blobs/sha256/<hex>`.
pub(super) trait Content: Send + Sync + 'static {
    /// The file with this name; `None` if there is none. Blocks.
    fn file(&self, name: &str) -> Result<Option<FileSlice>>;
}

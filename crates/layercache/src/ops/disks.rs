//! The cache directories of a stack.

use cache_disk::DiskTier;

use super::error::OpsError;
use crate::Stack;

/// Returns the disk tiers of a stack, and warns of directories that are not there.
pub(super) async fn disks(stack: &Stack) -> Result<Vec<&DiskTier>, OpsError> {
    let disks = stack.disks();
    if disks.is_empty() {
        return Err(OpsError::NoDisk);
    }
    for disk in &disks {
        let path = disk.dir();
        if matches!(tokio::fs::try_exists(path).await, Ok(false)) {
            tracing::warn!(path = %path.display(), "the cache directory is not there: is it mistyped, or has nothing been brought yet?");
        }
    }
    Ok(disks)
}

//! Files that a consumer keeps next to a layer, such as the index of its tar: gone when the layer
//! goes.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use cache_core::{Digest, Error, Result};

use crate::dir::handle::Handle;
use crate::dir::layout::{LAYER, file_name};
use crate::dir::publish::NewFile;
use crate::failure::failure;
use crate::space::quota::Quota;

/// Reads a companion of at most `max_len` bytes; `None` when there is none. Blocks.
pub(crate) fn read(dir: &Handle, name: &str, max_len: usize) -> Result<Option<Bytes>> {
    let Some(file) = dir.open_file(name)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let read = file
        .take((max_len as u64).saturating_add(1))
        .read_to_end(&mut bytes);
    read.map_err(|error| failure(&format!("read {name}"), error))?;
    if bytes.len() > max_len {
        return Err(Error::corrupt(format!("{name} is longer than {max_len} bytes")));
    }
    Ok(Some(bytes.into()))
}

/// Puts a companion next to a layer, in place of any that is there, atomically. Does nothing when
/// the layer is not there. Blocks.
pub(crate) fn write(
    dir: &Arc<Handle>,
    quota: &Quota,
    digest: &Digest,
    name: &str,
    bytes: &[u8],
) -> Result<()> {
    let layer = file_name(digest, LAYER);
    if !dir.contains(&layer) {
        return Ok(());
    }
    let len = bytes.len() as u64;
    quota.make_room_on_disk(dir, digest, len)?;
    let what = format!("write {name}");
    let mut new = quota.when_full_evict(dir, digest, len, &what, || {
        let new = NewFile::holding(dir, bytes)?;
        new.sync().map(|()| new)
    })?;
    quota.with_room_in_quota(dir, digest, len, || {
        quota.when_full_evict(dir, digest, len, &what, || new.replace(name))
    })?;
    // The layer may have been removed meanwhile, and its companions with it.
    if !dir.contains(&layer) {
        dir.unlink(name)
            .map_err(|error| failure(&format!("remove {name}"), error))?;
    }
    Ok(())
}

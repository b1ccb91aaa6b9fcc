//! Files that a consumer keeps next to a layer, such as the index of its tar: gone when the layer goes.

use std::io::Read;

use bytes::Bytes;
use cache_core::{Digest, Error, Result};

use crate::dir::directory::Handle;
use crate::dir::layout::{LAYER, check_companion_kind, file_name};
use crate::dir::publish::NewFile;
use crate::failure::{blocking, failure};
use crate::tier::{DiskTier, Store};

impl DiskTier {
    /// The companion of `kind` of a layer; `None` when there is none. Whoever reads it verifies it: it is as trusted as the
    /// cache directory is.
    ///
    /// # Errors
    /// `Corrupt` when it is longer than `max_len` bytes or not a regular file of this user; `Permanent` when `kind` is not
    /// 1 to 32 letters a-z, or is `decompressed` or `index`.
    pub async fn read_companion(&self, digest: &Digest, kind: &str, max_len: usize) -> Result<Option<Bytes>> {
        let name = check_companion_kind(kind).map(|()| file_name(digest, kind));
        let store = self.store.clone();
        let read = async {
            blocking(move || {
                let name = name?;
                let dir = store.directory.if_there()?;
                dir.map_or(Ok(None), |dir| read(&dir, &name, max_len))
            })
            .await?
        };
        read.await
            .map_err(|error| error.at(&self.store.name, "read a companion of").of_layer(digest))
    }

    /// Puts a companion of `kind` next to a layer, in place of any that is there, atomically. Does nothing when the layer
    /// is not there. A dropped future may or may not have done it.
    ///
    /// # Errors
    /// `Unavailable` when there is no room; `Permanent` as for [`read_companion`](Self::read_companion).
    pub async fn write_companion(&self, digest: &Digest, kind: &str, bytes: Bytes) -> Result<()> {
        let name = check_companion_kind(kind).map(|()| file_name(digest, kind));
        let (store, of) = (self.store.clone(), *digest);
        let written = async { blocking(move || store.write_companion(&of, &name?, &bytes)).await? };
        written.await.map_err(|error| {
            error
                .at(&self.store.name, "write a companion of")
                .of_layer(digest)
        })
    }
}

fn read(dir: &Handle, name: &str, max_len: usize) -> Result<Option<Bytes>> {
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

impl Store {
    fn write_companion(&self, digest: &Digest, name: &str, bytes: &[u8]) -> Result<()> {
        let dir = self.directory.current()?;
        let layer = file_name(digest, LAYER);
        if !dir.contains(&layer) {
            return Ok(());
        }
        let len = bytes.len() as u64;
        self.make_room_on_disk(&dir, digest, len)?;
        let what = format!("write {name}");
        let mut new = self.when_full_evict(&dir, digest, len, &what, || {
            let new = NewFile::holding(&dir, bytes)?;
            new.sync().map(|()| new)
        })?;
        self.with_room_in_quota(&dir, digest, len, || {
            self.when_full_evict(&dir, digest, len, &what, || new.replace(name))
        })?;
        // The layer may have been removed meanwhile, and its companions with it.
        if !dir.contains(&layer) {
            dir.unlink(name)
                .map_err(|error| failure(&format!("remove {name}"), error))?;
        }
        Ok(())
    }
}

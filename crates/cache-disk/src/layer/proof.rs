//! Layers whose index was read by this process, so that they can be opened again without it.
//!
//! An index proves its layer's file for good, because the bytes never change. So the files are
//! remembered that it was read for. If either of them is another file now, or was cut, the proof no
//! longer counts and all is looked at from the start.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use cache_core::{Digest, LayerDescriptor};
use rustix::fs::Stat;

use crate::dir::directory::Directory;
use crate::dir::handle::Handle;
use crate::dir::layout::{INDEX, LAYER, file_name};

/// How many layers are remembered: more than a worker has in use, in about 200 KiB.
const MOST: usize = 1024;

/// The files whose indexes were read.
#[derive(Debug, Default)]
pub(crate) struct Proofs(Mutex<HashMap<Digest, Proof>>);

#[derive(Clone, Copy, Debug)]
struct Proof {
    layer: Identity,
    index: Identity,
    diff_id: Digest,
}

/// The file of a layer that is proven still.
#[derive(Debug)]
pub(crate) struct Proven {
    pub(crate) dir: Arc<Handle>,
    pub(crate) file: File,
    pub(crate) stat: Stat,
}

/// Tells a file from any other that had or gets its name, and from itself after it was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    len: i64,
    /// Seconds and nanoseconds. `None` for a layer, which has it changed by its use.
    modified: Option<(i64, i64)>,
}

impl Identity {
    fn of_layer(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            len: stat.st_size,
            modified: None,
        }
    }

    fn of_index(stat: &Stat) -> Self {
        Self {
            modified: Some((stat.st_mtime, stat.st_mtime_nsec.cast_signed())),
            ..Self::of_layer(stat)
        }
    }
}

impl Proofs {
    /// Notes that `layer` is the layer `digest` with this diff ID, by what its `index` says.
    pub(crate) fn note(&self, digest: Digest, diff_id: Digest, layer: &File, index: &Stat) {
        let Ok(layer) = rustix::fs::fstat(layer) else {
            return;
        };
        let proof = Proof {
            layer: Identity::of_layer(&layer),
            index: Identity::of_index(index),
            diff_id,
        };
        let mut proofs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if proofs.len() >= MOST && !proofs.contains_key(&digest) {
            // A process that uses as many layers reads an index again now and then.
            proofs.clear();
        }
        proofs.insert(digest, proof);
    }

    /// Opens the file of a layer that was proven before, if nothing of it has changed and nothing
    /// has to be waited for. `None` does not say whether the layer is there.
    pub(crate) fn open(&self, directory: &Directory, layer: &LayerDescriptor) -> Option<Proven> {
        let proof = self.of(&layer.digest)?;
        if layer.diff_id.is_some_and(|claim| claim != proof.diff_id) {
            return None;
        }
        let dir = directory.still_there()?;
        let index = dir.stat_cached(&file_name(&layer.digest, INDEX))?;
        let file = dir.open_cached(&file_name(&layer.digest, LAYER))?;
        let stat = rustix::fs::fstat(&file).ok()?;
        let found = (Identity::of_layer(&stat), Identity::of_index(&index));
        (found == (proof.layer, proof.index)).then_some(Proven { dir, file, stat })
    }

    fn of(&self, digest: &Digest) -> Option<Proof> {
        let proofs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.get(digest).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layers_that_are_remembered_are_bounded() {
        let file = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        let digest = |number: usize| Digest::sha256_of(&number.to_le_bytes());
        let proofs = Proofs::default();
        for number in 0..MOST {
            proofs.note(digest(number), digest(number), &file, &stat);
        }
        // Again is not more.
        proofs.note(digest(0), digest(0), &file, &stat);
        assert!((0..MOST).all(|number| proofs.of(&digest(number)).is_some()));
        proofs.note(digest(MOST), digest(MOST), &file, &stat);
        assert!(proofs.of(&digest(MOST)).is_some());
        assert!(proofs.0.lock().unwrap().len() <= MOST);
    }
}

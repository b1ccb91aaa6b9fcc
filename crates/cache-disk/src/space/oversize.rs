//! Layers that are longer than the quota: read without being cached, and nothing is evicted for
//! them.
//!
//! The length of a layer shows while it is written. A layer that has turned out to be too long is
//! remembered, so that it is not written up to the quota each time it is read.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use cache_core::{Digest, Error, LayerDescriptor, LayerIndex, Result};

/// How many layers are remembered, in about 100 KiB. One more makes it forget all.
const MOST: usize = 1024;

/// Refuses layers that cannot fit into the quota.
#[derive(Debug)]
pub(crate) struct Oversize {
    max_bytes: Option<u64>,
    /// The layers that have turned out to be too long.
    known: Mutex<HashSet<Digest>>,
}

impl Oversize {
    pub(crate) fn new(max_bytes: Option<u64>) -> Self {
        Self {
            max_bytes,
            known: Mutex::default(),
        }
    }

    /// Refuses a layer that cannot fit before anybody fetches it. The blob is rarely longer than
    /// the layer.
    pub(crate) fn check_claim(&self, layer: &LayerDescriptor) -> Result<()> {
        match self.max_bytes {
            Some(max) if self.knows(&layer.digest) => Err(too_long(max)),
            _ => self.check_len(layer.size.unwrap_or(0)),
        }
    }

    /// Refuses a layer that has grown to `len` bytes, if these cannot fit.
    pub(crate) fn check_growth(&self, digest: &Digest, len: u64) -> Result<()> {
        self.check_len(len).inspect_err(|_| self.note(digest))
    }

    fn check_len(&self, len: u64) -> Result<()> {
        let needed = len.saturating_add(LayerIndex::encoded_len(len));
        match self.max_bytes {
            Some(max) if needed > max => Err(too_long(max)),
            _ => Ok(()),
        }
    }

    fn note(&self, digest: &Digest) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(*digest);
    }

    fn knows(&self, digest: &Digest) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(digest)
    }
}

fn too_long(max: u64) -> Error {
    Error::unavailable(format!(
        "the layer is larger than the quota: raise `max_bytes` ({max}) to have it cached"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layers_that_are_remembered_are_bounded() {
        let oversize = Oversize::new(None);
        let digest = |number: usize| Digest::sha256_of(&number.to_le_bytes());
        for number in 0..MOST {
            oversize.note(&digest(number));
        }
        assert!((0..MOST).all(|number| oversize.knows(&digest(number))));
        oversize.note(&digest(MOST));
        assert!(oversize.knows(&digest(MOST)));
        assert!(oversize.known.lock().unwrap().len() <= MOST);
    }
}

//! Layers that are longer than the quota: read without being cached, and nothing is evicted for them.
//!
//! How long a layer is shows while it is written. One that has turned out to be too long is remembered, so that it is not written up to
//! the quota each time it is read.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use cache_core::{Digest, Error, LayerDescriptor, LayerIndex, Result};

use crate::tier::Store;

/// How many are remembered, in about 100 KiB. Of one more, all are forgotten.
const MOST: usize = 1024;

/// The layers that have turned out to be too long.
#[derive(Debug, Default)]
pub(crate) struct Oversize(Mutex<HashSet<Digest>>);

impl Oversize {
    fn note(&self, digest: &Digest) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(*digest);
    }

    fn knows(&self, digest: &Digest) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(digest)
    }
}

impl Store {
    /// Refuses a layer that cannot fit before anybody fetches it. The blob is rarely longer than the layer.
    pub(crate) fn check_claim(&self, layer: &LayerDescriptor) -> Result<()> {
        match self.config.max_bytes {
            Some(max) if self.oversize.knows(&layer.digest) => Err(too_long(max)),
            _ => self.check_len(layer.size.unwrap_or(0)),
        }
    }

    /// Refuses a layer that has grown to `len` bytes, if these cannot fit.
    pub(crate) fn check_growth(&self, digest: &Digest, len: u64) -> Result<()> {
        self.check_len(len).inspect_err(|_| self.oversize.note(digest))
    }

    fn check_len(&self, len: u64) -> Result<()> {
        let needed = len.saturating_add(LayerIndex::encoded_len(len));
        match self.config.max_bytes {
            Some(max) if needed > max => Err(too_long(max)),
            _ => Ok(()),
        }
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
        let oversize = Oversize::default();
        let digest = |number: usize| Digest::sha256_of(&number.to_le_bytes());
        for number in 0..MOST {
            oversize.note(&digest(number));
        }
        assert!((0..MOST).all(|number| oversize.knows(&digest(number))));
        oversize.note(&digest(MOST));
        assert!(oversize.knows(&digest(MOST)));
        assert!(oversize.0.lock().unwrap().len() <= MOST);
    }
}

//! What makes the index of a layer in a shared store trustworthy.

use std::fmt;

use bytes::Bytes;

use crate::{Error, LayerDescriptor, LayerIndex, Result};

/// BLAKE3's context of the key derivation: never used for anything else.
const CONTEXT: &str = "layercache 2026-11-25 seal of a layer's index";

/// Ends each index in a shared store: a plain hash, or with a key an authentication code, so that whoever can write
/// to the store but has no key cannot make a worker read forged bytes. All workers of a deployment have the same key.
///
/// The key never appears in `Debug` output.
///
/// ```
/// # use cache_core::index::Seal;
/// let seal = Seal::keyed(b"0f1e2d3c4b5a69788796a5b4c3d2e1f0").unwrap();
/// assert_eq!(format!("{seal:?}"), "Seal(keyed)");
/// assert!(Seal::keyed(b"short").is_err());
/// ```
#[derive(Clone, Default)]
pub struct Seal(Option<Box<[u8; 32]>>);

impl Seal {
    /// Shortest secret in bytes that is accepted: what is shorter can be guessed.
    pub const MIN_SECRET_LEN: usize = 16;

    /// Damage is noticed, forgery is not: trusts whoever may write to the store.
    pub fn plain() -> Self {
        Self(None)
    }

    /// With a key derived from `secret`: trusts its holders alone.
    ///
    /// # Errors
    /// [`ErrorKind::Permanent`](crate::ErrorKind::Permanent) for a secret shorter than
    /// [`MIN_SECRET_LEN`](Self::MIN_SECRET_LEN).
    pub fn keyed(secret: &[u8]) -> Result<Self> {
        if secret.len() < Self::MIN_SECRET_LEN {
            return Err(Error::permanent(format!(
                "the seal key is shorter than {} bytes: take a longer, random one",
                Self::MIN_SECRET_LEN
            )));
        }
        Ok(Self(Some(Box::new(blake3::derive_key(CONTEXT, secret)))))
    }

    /// Whether it authenticates.
    pub fn is_keyed(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn of(&self, body: &[u8]) -> blake3::Hash {
        match &self.0 {
            Some(key) => blake3::keyed_hash(key, body),
            None => blake3::hash(body),
        }
    }

    /// The index that a shared store has of `layer`, if it can be gone by.
    ///
    /// # Errors
    /// - [`Corrupt`](crate::ErrorKind::Corrupt) when it is damaged, has another seal, or is that of another layer.
    /// - What contradicts the diff ID that the image claims: with a key the image is wrong, which is
    ///   [`Invalid`](crate::ErrorKind::Invalid); without one it may be either, which is
    ///   [`Disputed`](crate::ErrorKind::Disputed).
    /// - [`Permanent`](crate::ErrorKind::Permanent) when there is nothing to go by: neither a key nor a diff ID, or one of another
    ///   algorithm.
    pub fn admit(&self, encoded: &[u8], layer: &LayerDescriptor) -> Result<LayerIndex> {
        let index = LayerIndex::decode_sealed(encoded, self)?;
        if *index.digest() != layer.digest {
            return Err(Error::corrupt("the layer's index is that of another layer"));
        }
        let Some(claim) = &layer.diff_id else {
            if self.is_keyed() {
                return Ok(index);
            }
            return Err(Error::permanent(
                "the image does not tell the diff ID of the layer, and without `seal_key` nothing else vouches for it: set one",
            ));
        };
        if claim == index.diff_id() {
            return Ok(index);
        }
        let found = index.diff_id();
        let contradict = |what: &str| {
            format!("the image claims the diff ID {claim}, but the layer's index says {found}: {what}")
        };
        Err(match self.0 {
            _ if claim.algorithm() != found.algorithm() => {
                Error::permanent(contradict("they cannot be compared"))
            }
            Some(_) => Error::invalid(contradict("the index is sealed, so the image is wrong")),
            None => Error::disputed(contradict("either may be wrong, which another source shows")),
        })
    }

    /// `index` as a shared store keeps it.
    pub fn encode(&self, index: &LayerIndex) -> Bytes {
        index.encode_sealed(self)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_keyed() {
            "Seal(keyed)"
        } else {
            "Seal(plain)"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::IndexBuilder;
    use crate::{Algorithm, Digest, ErrorKind};

    fn index(digest: Digest) -> LayerIndex {
        let mut builder = IndexBuilder::new(Algorithm::Sha256);
        builder.update(b"the tar");
        builder.finish(digest)
    }

    #[test]
    fn only_the_same_key_opens_a_seal() {
        let digest = Digest::sha256_of(b"blob");
        let layer = LayerDescriptor::new(digest).with_diff_id(Digest::sha256_of(b"the tar"));
        let seals = [
            Seal::plain(),
            Seal::keyed(b"one secret of 16").unwrap(),
            Seal::keyed(b"another one of 16").unwrap(),
        ];
        for (written, seal) in seals.iter().enumerate() {
            let encoded = seal.encode(&index(digest));
            for (read, seal) in seals.iter().enumerate() {
                let admitted = seal.admit(&encoded, &layer).map_err(|error| error.kind());
                let expected = if written == read {
                    Ok(index(digest))
                } else {
                    Err(ErrorKind::Corrupt)
                };
                assert_eq!(admitted, expected);
            }
        }
    }

    #[test]
    fn who_is_wrong_depends_on_who_vouches() {
        let digest = Digest::sha256_of(b"blob");
        let layer = LayerDescriptor::new(digest);
        let liar = layer.clone().with_diff_id(Digest::sha256_of(b"another tar"));
        let other = Digest::from_hash(Algorithm::Sha512, &[7; 64]).unwrap();
        let other = layer.clone().with_diff_id(other);
        let elsewhere = LayerDescriptor::new(Digest::sha256_of(b"another blob"));
        let (plain, keyed) = (Seal::plain(), Seal::keyed(b"one secret of 16").unwrap());
        for (seal, layer, expected) in [
            (&plain, &layer, Err(ErrorKind::Permanent)),
            (&keyed, &layer, Ok(())),
            (&plain, &liar, Err(ErrorKind::Disputed)),
            (&keyed, &liar, Err(ErrorKind::Invalid)),
            (&plain, &other, Err(ErrorKind::Permanent)),
            (&keyed, &other, Err(ErrorKind::Permanent)),
            (&plain, &elsewhere, Err(ErrorKind::Corrupt)),
            (&keyed, &elsewhere, Err(ErrorKind::Corrupt)),
        ] {
            let admitted = seal.admit(&seal.encode(&index(digest)), layer);
            assert_eq!(admitted.map(drop).map_err(|error| error.kind()), expected);
        }
    }
}

//! The companion of a layer: its length, its diff ID and the hashes of its chunks.
//!
//! ```text
//! offset  bytes  field (integers little-endian)
//!      0      8  magic "LCINDEX\0"
//!      8      4  version, 1
//!     12     72  digest:  1 byte algorithm (1 = sha256, 2 = sha512), 7 bytes zero, 64 bytes hash, zero-padded
//!     84     72  diff ID: the same
//!    156      8  length of the layer in bytes
//!    164      4  chunk length in bytes, 524288
//!    168   32 n  BLAKE3 of each chunk, in order; n = ceil(length / chunk length)
//!   last     32  seal: BLAKE3 of everything before it, in a shared store keyed where the deployment has a key
//! ```

mod seal;

use bytes::Bytes;

use crate::digest::DigestHasher;
use crate::{Algorithm, Digest, Error, Result};

pub use self::seal::Seal;

/// Length of a chunk in bytes: the unit of remote storage and of verification.
pub const CHUNK_LEN: u32 = 512 * 1024;

const MAGIC: &[u8; 8] = b"LCINDEX\0";
const VERSION: u32 = 1;
const DIGEST_LEN: usize = 72;
const HEADER_LEN: usize = 168;
const HASH_LEN: usize = 32;

/// A BLAKE3 hash of one chunk.
pub type ChunkHash = [u8; HASH_LEN];

/// What is known of a layer once all of it was seen: enough to verify any part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerIndex {
    digest: Digest,
    diff_id: Digest,
    len: u64,
    chunks: Vec<ChunkHash>,
}

impl LayerIndex {
    /// The key of the layer: the digest of its compressed blob.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The digest of the layer's bytes.
    pub fn diff_id(&self) -> &Digest {
        &self.diff_id
    }

    /// Length of the layer in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the layer has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The hash of each chunk, in order. All chunks have [`CHUNK_LEN`] bytes but the last, which may be shorter.
    pub fn chunks(&self) -> &[ChunkHash] {
        &self.chunks
    }

    /// Whether `bytes` are chunk number `chunk` of the layer.
    pub fn verify_chunk(&self, chunk: usize, bytes: &[u8]) -> bool {
        self.chunks
            .get(chunk)
            .is_some_and(|hash| blake3::hash(bytes) == *hash)
    }

    /// Length in bytes of chunk number `chunk`; 0 past the end.
    pub fn chunk_len(&self, chunk: usize) -> usize {
        let start = (chunk as u64).saturating_mul(CHUNK_LEN.into());
        // At most `CHUNK_LEN`, which any usize holds.
        self.len.saturating_sub(start).min(CHUNK_LEN.into()) as usize
    }

    /// How many bytes the index of a layer of `len` bytes takes.
    pub fn encoded_len(len: u64) -> u64 {
        HEADER_LEN as u64 + (len.div_ceil(CHUNK_LEN.into()) + 1) * HASH_LEN as u64
    }

    /// The format drawn at the top of this file, with a [plain](Seal::plain) seal.
    pub fn encode(&self) -> Bytes {
        self.encode_sealed(&Seal::plain())
    }

    pub(crate) fn encode_sealed(&self, seal: &Seal) -> Bytes {
        let mut out = Vec::with_capacity(HEADER_LEN + (self.chunks.len() + 1) * HASH_LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        encode_digest(&self.digest, &mut out);
        encode_digest(&self.diff_id, &mut out);
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&CHUNK_LEN.to_le_bytes());
        for chunk in &self.chunks {
            out.extend_from_slice(chunk);
        }
        let seal = seal.of(&out);
        out.extend_from_slice(seal.as_bytes());
        Bytes::from(out)
    }

    /// Reads the format back. The caller bounds the length of `bytes`; nothing is allocated beyond it.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) for anything that [`encode`](Self::encode) does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::decode_sealed(bytes, &Seal::plain())
    }

    pub(crate) fn decode_sealed(bytes: &[u8], key: &Seal) -> Result<Self> {
        let corrupt = |what: &str| Error::corrupt(format!("the layer's index {what}"));
        let (body, seal) = bytes
            .split_last_chunk::<HASH_LEN>()
            .filter(|(body, _)| body.len() >= HEADER_LEN)
            .ok_or_else(|| corrupt("is cut short"))?;
        let (header, hashes) = body.split_at(HEADER_LEN);
        if !header.starts_with(MAGIC) {
            return Err(corrupt("does not start with its magic"));
        }
        let version = u32::from_le_bytes(field(header, 8));
        if version != VERSION {
            return Err(corrupt(&format!(
                "has version {version}, not {VERSION}: another version of this program has written it"
            )));
        }
        // Compared in constant time.
        if key.of(body) != *seal {
            return Err(corrupt(
                "does not match its seal: it is damaged, or was sealed by another key",
            ));
        }
        let digest = decode_digest(&header[12..]).ok_or_else(|| corrupt("has no valid digest"))?;
        let diff_id =
            decode_digest(&header[12 + DIGEST_LEN..]).ok_or_else(|| corrupt("has no valid diff ID"))?;
        let len = u64::from_le_bytes(field(header, 156));
        if u32::from_le_bytes(field(header, 164)) != CHUNK_LEN {
            return Err(corrupt("has another chunk length"));
        }
        let (chunks, rest) = hashes.as_chunks::<HASH_LEN>();
        if !rest.is_empty() || chunks.len() as u64 != len.div_ceil(CHUNK_LEN.into()) {
            return Err(corrupt("has the wrong number of chunks for its length"));
        }
        Ok(Self {
            digest,
            diff_id,
            len,
            chunks: chunks.to_vec(),
        })
    }
}

/// The `N` bytes at `at` of a header whose length was checked.
fn field<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}

fn encode_digest(digest: &Digest, out: &mut Vec<u8>) {
    let mut field = [0; DIGEST_LEN];
    field[0] = match digest.algorithm() {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
    };
    field[8..8 + digest.hash().len()].copy_from_slice(digest.hash());
    out.extend_from_slice(&field);
}

fn decode_digest(bytes: &[u8]) -> Option<Digest> {
    let algorithm = match bytes[0] {
        1 => Algorithm::Sha256,
        2 => Algorithm::Sha512,
        _ => return None,
    };
    let (padding, hash) = bytes[1..DIGEST_LEN].split_at(7);
    let (hash, tail) = hash.split_at(algorithm.hash_len());
    if padding.iter().chain(tail).any(|&byte| byte != 0) {
        return None;
    }
    Digest::from_hash(algorithm, hash)
}

/// Computes a [`LayerIndex`] of a layer whose bytes come in pieces.
///
/// ```
/// # use cache_core::{Algorithm, Digest};
/// # use cache_core::index::IndexBuilder;
/// let mut builder = IndexBuilder::new(Algorithm::Sha256);
/// builder.update(b"the tar, ");
/// builder.update(b"in pieces");
/// let index = builder.finish(Digest::sha256_of(b"the blob"));
/// assert_eq!(index.len(), 18);
/// assert_eq!(index.diff_id(), &Digest::sha256_of(b"the tar, in pieces"));
/// assert!(index.verify_chunk(0, b"the tar, in pieces"));
/// ```
#[derive(Clone, Debug)]
pub struct IndexBuilder {
    diff_id: DigestHasher,
    chunk: Box<blake3::Hasher>,
    chunk_len: usize,
    len: u64,
    chunks: Vec<ChunkHash>,
}

impl IndexBuilder {
    /// A builder that has seen nothing yet; `algorithm` is the one of the diff ID.
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            diff_id: DigestHasher::new(algorithm),
            chunk: Box::default(),
            chunk_len: 0,
            len: 0,
            chunks: Vec::new(),
        }
    }

    /// How many bytes it has seen.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has seen nothing yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds the next piece. Costs SHA-256 and BLAKE3 of it: give the runtime a chance between slices of a large one.
    pub fn update(&mut self, mut piece: &[u8]) {
        self.diff_id.update(piece);
        self.len += piece.len() as u64;
        while !piece.is_empty() {
            let take = piece.len().min(CHUNK_LEN as usize - self.chunk_len);
            let (head, rest) = piece.split_at(take);
            self.chunk.update(head);
            self.chunk_len += take;
            if self.chunk_len == CHUNK_LEN as usize {
                self.end_chunk();
            }
            piece = rest;
        }
    }

    fn end_chunk(&mut self) {
        self.chunks.push(*self.chunk.finalize().as_bytes());
        self.chunk.reset();
        self.chunk_len = 0;
    }

    /// The digest of what it has seen so far.
    pub(crate) fn prefix_digest(&self) -> Digest {
        self.diff_id.clone().finish()
    }

    /// The index of what it has seen, for the layer with the key `digest`.
    pub fn finish(mut self, digest: Digest) -> LayerIndex {
        if self.chunk_len > 0 {
            self.end_chunk();
        }
        LayerIndex {
            digest,
            diff_id: self.diff_id.finish(),
            len: self.len,
            chunks: self.chunks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn index_of(layer: &[u8], piece: usize) -> LayerIndex {
        let mut builder = IndexBuilder::new(Algorithm::Sha256);
        layer.chunks(piece).for_each(|piece| builder.update(piece));
        builder.finish(Digest::sha256_of(b"blob"))
    }

    #[test]
    fn chunks_are_cut_at_their_length() {
        let chunk = CHUNK_LEN as usize;
        for len in [0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk] {
            let layer: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let index = index_of(&layer, 100_003);
            assert_eq!((index.len(), index.is_empty()), (len as u64, len == 0));
            assert_eq!(index.chunks().len(), len.div_ceil(chunk));
            assert_eq!(index.diff_id(), &Digest::sha256_of(&layer));
            for (n, bytes) in layer.chunks(chunk).enumerate() {
                assert!(index.verify_chunk(n, bytes));
                assert!(!index.verify_chunk(n + 1, bytes));
                assert_eq!(index.chunk_len(n), bytes.len());
            }
            assert_eq!(index.chunk_len(index.chunks().len()), 0);
            assert_eq!(index.encode().len() as u64, LayerIndex::encoded_len(index.len()));
        }
    }

    #[test]
    fn digests_of_every_algorithm_are_kept() {
        let mut builder = IndexBuilder::new(Algorithm::Sha512);
        builder.update(b"a layer");
        let index = builder.finish(Digest::sha256_of(b"blob"));
        assert_eq!(index.diff_id().algorithm(), Algorithm::Sha512);
        let decoded = LayerIndex::decode(&index.encode()).unwrap();
        assert_eq!(
            (decoded.diff_id(), decoded.digest()),
            (index.diff_id(), index.digest())
        );
    }

    #[test]
    fn an_index_whose_hashes_do_not_fit_its_length_is_corrupt_whoever_sealed_it() {
        let encoded = index_of(&[7; 10], 10).encode();
        let (body, _) = encoded.split_last_chunk::<HASH_LEN>().unwrap();
        for more in [&[1; HASH_LEN][..], &[1; 5]] {
            let body = [body, more].concat();
            let seal = Seal::plain().of(&body);
            let error = LayerIndex::decode(&[&body, &seal.as_bytes()[..]].concat()).unwrap_err();
            assert!(error.to_string().contains("wrong number of chunks"), "{error}");
        }
    }

    #[test]
    fn a_builder_knows_how_much_it_has_seen() {
        let mut builder = IndexBuilder::new(Algorithm::Sha256);
        assert_eq!((builder.len(), builder.is_empty()), (0, true));
        builder.update(&[7; 10]);
        assert_eq!((builder.len(), builder.is_empty()), (10, false));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn encoding_round_trips_and_any_damage_is_corrupt(
            len in 0usize..(3 * CHUNK_LEN as usize), piece in 1usize..700_000, at: prop::sample::Index, bit in 0u8..8,
        ) {
            let layer: Vec<u8> = (0..len).map(|i| (i % 253) as u8).collect();
            let index = index_of(&layer, piece);
            let encoded = index.encode().to_vec();
            prop_assert_eq!(&LayerIndex::decode(&encoded).unwrap(), &index);
            let at = at.index(encoded.len());
            prop_assert!(LayerIndex::decode(&encoded[..at]).is_err());
            let mut damaged = encoded;
            damaged[at] ^= 1 << bit;
            prop_assert_eq!(LayerIndex::decode(&damaged).unwrap_err().kind(), crate::ErrorKind::Corrupt);
        }

        #[test]
        fn any_bytes_decode_or_are_corrupt(bytes: Vec<u8>) {
            prop_assert!(LayerIndex::decode(&bytes).is_err());
        }
    }
}

//! The encoded index of a layer, as it comes from a disk or a shared store.

use bytes::Bytes;
use cache_core::index::{CHUNK_LEN, Seal};
use cache_core::{ErrorKind, LayerDescriptor, LayerIndex};

const HEADER_LEN: usize = 168;
const HASH_LEN: usize = 32;

/// Whatever decodes is what encoding it gives, with any seal; what does not is [`Corrupt`](ErrorKind::Corrupt); and
/// no damage to an encoded index goes unnoticed.
///
/// The bytes are taken as they are, then with a right seal behind them, then as the parts of a right index.
pub fn layer_index(bytes: &[u8]) {
    decodes_or_is_corrupt(bytes);
    decodes_or_is_corrupt(&sealed(bytes));
    let Some((choice, parts)) = bytes.split_first_chunk::<8>() else {
        return;
    };
    let encoded = sealed(&body(choice, parts));
    let index = decodes_or_is_corrupt(&encoded).expect("an index that follows the format is accepted");
    assert_eq!(LayerIndex::encoded_len(index.len()), encoded.len() as u64);
    let lens: u64 = (0..=index.chunks().len())
        .map(|chunk| index.chunk_len(chunk) as u64)
        .sum();
    assert_eq!(lens, index.len());
    let damage = (usize::from(choice[4]) << 8 | usize::from(choice[5]), choice[6]);
    seals_hold(&index, damage);
}

fn decodes_or_is_corrupt(bytes: &[u8]) -> Option<LayerIndex> {
    match LayerIndex::decode(bytes) {
        Ok(index) => {
            assert_eq!(index.encode(), bytes);
            Some(index)
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            None
        }
    }
}

/// `body` with the plain seal of the format behind it.
fn sealed(body: &[u8]) -> Vec<u8> {
    [body, blake3::hash(body).as_bytes()].concat()
}

/// What an index of some layer has in front of its seal. `parts` become its hashes.
fn body(choice: &[u8; 8], parts: &[u8]) -> Vec<u8> {
    let mut body = b"LCINDEX\0\x01\0\0\0".to_vec();
    for algorithm in [choice[0], choice[1]].map(|choice| 1 + choice % 2) {
        let hash_len = 32 * usize::from(algorithm);
        body.extend([algorithm, 0, 0, 0, 0, 0, 0, 0]);
        let hash = parts.iter().copied().chain(std::iter::repeat(choice[7]));
        body.extend(hash.take(hash_len));
        body.extend(std::iter::repeat_n(0, 64 - hash_len));
    }
    let (chunks, _) = parts.as_chunks::<HASH_LEN>();
    let missing = u64::from(choice[2]) << 11 | u64::from(choice[3]);
    let len = (chunks.len() as u64 * u64::from(CHUNK_LEN)).saturating_sub(missing % u64::from(CHUNK_LEN));
    body.extend(len.to_le_bytes());
    body.extend(CHUNK_LEN.to_le_bytes());
    assert_eq!(body.len(), HEADER_LEN);
    body.extend(chunks.as_flattened());
    body
}

fn seals_hold(index: &LayerIndex, (at, flip): (usize, u8)) {
    let layer = LayerDescriptor::new(*index.digest()).with_diff_id(*index.diff_id());
    let keyed = |secret| Seal::keyed(secret).expect("the secret is long enough");
    let seals = [Seal::plain(), keyed(&[7; 16]), keyed(&[8; 40])];
    for (n, seal) in seals.iter().enumerate() {
        let encoded = seal.encode(index);
        for (m, other) in seals.iter().enumerate() {
            match other.admit(&encoded, &layer) {
                Ok(admitted) => assert!(n == m && admitted == *index, "seal {m} takes what {n} sealed"),
                Err(error) => assert!(n != m && error.kind() == ErrorKind::Corrupt, "{error}"),
            }
        }
        let at = at % encoded.len();
        let mut flipped = encoded.to_vec();
        flipped[at] ^= flip.max(1);
        let longer = [&encoded[..], &[flip]].concat();
        for damaged in [Bytes::from(flipped), encoded.slice(..at), Bytes::from(longer)] {
            let error = seal.admit(&damaged, &layer).expect_err("damage is noticed");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
    }
}

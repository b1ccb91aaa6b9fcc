//! Compressed blobs.

use std::io::Write;

use proptest::prelude::*;

use crate::mutation::{changed, seeds_changed};

/// A part of a blob.
fn part() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let run =
        (prop::collection::vec(any::<u8>(), 1..40), 1usize..3000).prop_map(|(run, times)| run.repeat(times));
    (0u8..8, run)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn skippable(kind: u8, content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap().to_le_bytes();
    [&[0x50 | kind, 0x2a, 0x4d, 0x18], &len[..], content].concat()
}

/// Members or frames one after the other, now and then with something else between or behind.
fn blob() -> impl Strategy<Value = Vec<u8>> {
    (any::<bool>(), prop::collection::vec(part(), 1..4)).prop_map(|(is_zstd, parts)| {
        let mut blob = Vec::new();
        for (kind, bytes) in parts {
            blob.extend(match kind {
                0 => bytes,
                1 if is_zstd => skippable(bytes[0] & 15, &bytes),
                2 => gzip(b""),
                _ if is_zstd => zstd::encode_all(&bytes[..], 1).unwrap(),
                _ => gzip(&bytes),
            });
        }
        blob
    })
}

/// The blob behind what says how it is served and what is claimed of it.
fn served(blob: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let cap = prop_oneof![2 => Just(21u8), 1 => any::<u8>()];
    (any::<u8>(), cap, 0u8..8, any::<u8>(), blob)
        .prop_map(|(piece, cap, lie, at, blob)| [&[piece, cap, lie, at], &blob[..]].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn blobs(bytes in served(blob())) {
        properties::inflate(&bytes);
    }

    #[test]
    fn blobs_changed(bytes in served(changed(blob()))) {
        properties::inflate(&bytes);
    }

    #[test]
    fn seeds(bytes in seeds_changed("inflate")) {
        properties::inflate(&bytes);
    }
}

//! The index is what `docs/formats.md` shows, byte for byte.

use cache_core::index::{IndexBuilder, Seal};
use cache_core::{Algorithm, Digest, LayerDescriptor, LayerIndex};
use cache_testkit::documented;

/// The layer of the page.
const LAYER: &[u8] = b"a layer";

fn index() -> LayerIndex {
    let mut builder = IndexBuilder::new(Algorithm::Sha256);
    builder.update(LAYER);
    builder.finish(Digest::sha256_of(b"a blob"))
}

fn documented_bytes(name: &str) -> Vec<u8> {
    hex::decode(documented("formats.md", name).concat()).unwrap()
}

#[test]
fn the_index_on_the_page_is_the_one_that_is_written_and_read() {
    let (written, shown) = (index().encode(), documented_bytes("an index"));
    assert_eq!(hex::encode(&written), hex::encode(&shown));
    assert_eq!(LayerIndex::decode(&shown).unwrap(), index());
}

/// The seal is the only difference, and stands at the end.
#[test]
fn the_sealed_index_on_the_page_is_admitted_with_its_key_alone() {
    let seal = Seal::keyed(b"sixteen bytes or more").unwrap();
    let written = seal.encode(&index());
    let (body, end) = written.split_last_chunk::<32>().unwrap();
    assert_eq!(body, &index().encode()[..body.len()]);
    assert_eq!(hex::encode(end), hex::encode(documented_bytes("a seal")));

    let shown = [body, &documented_bytes("a seal")].concat();
    let layer = LayerDescriptor::new(Digest::sha256_of(b"a blob"));
    assert_eq!(seal.admit(&shown, &layer).unwrap(), index());
    assert!(
        Seal::keyed(b"sixteen other bytes")
            .unwrap()
            .admit(&shown, &layer)
            .is_err()
    );
}

#[test]
fn another_version_is_refused() {
    let mut bytes = documented_bytes("an index");
    bytes[8] += 1;
    let error = LayerIndex::decode(&bytes).unwrap_err();
    assert!(error.to_string().contains("has version 2, not 1"), "{error}");
}

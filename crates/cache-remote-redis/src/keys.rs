//! The keys of a layer.
//!
//! ```text
//! clip:oci:layer:decompressed:sha256:<64 hex>:<n>     chunk n, from 0: 512 KiB of the layer as they are, the last may be shorter
//! clip:oci:layer:decompressed:sha256:<64 hex>:index   the layer's index, as cache-core draws it; put last, it is the commit
//! ```
//! (`sha512` and 128 hex digits where the digest is one.) There is no hash tag in them: the chunks of a layer are spread over
//! the nodes of a cluster.
//!
//! A chunk that is written has an expiry of an hour until its layer is committed, so a writer that dies leaves nothing for ever. The
//! commit gives the chunks their final expiry and puts the index, on one server in one step. Redis may evict any of these keys at any time: a layer that
//! lacks one is a miss.

use cache_core::Digest;

const PREFIX: &str = "clip:oci:layer:decompressed:";
const INDEX: &str = ":index";

/// What SCAN is to look for.
pub(crate) const ANY_INDEX: &str = "clip:oci:layer:decompressed:*:index";

/// The key of chunk number `chunk` of a layer.
pub(crate) fn chunk(digest: &Digest, chunk: usize) -> String {
    format!("{PREFIX}{digest}:{chunk}")
}

/// The key of a layer's index.
pub(crate) fn index(digest: &Digest) -> String {
    format!("{PREFIX}{digest}{INDEX}")
}

/// The layer whose index has this key; `None` when it is none of the tier's.
pub(crate) fn parse_index(key: &[u8]) -> Option<Digest> {
    let key = std::str::from_utf8(key).ok()?;
    key.strip_prefix(PREFIX)?.strip_suffix(INDEX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use cache_core::Algorithm;

    use super::*;

    #[test]
    fn keys_are_what_other_implementations_expect() {
        let digest = Digest::sha256_of(b"");
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(
            chunk(&digest, 12),
            format!("clip:oci:layer:decompressed:sha256:{hex}:12")
        );
        assert_eq!(
            index(&digest),
            format!("clip:oci:layer:decompressed:sha256:{hex}:index")
        );
    }

    #[test]
    fn the_keys_are_those_that_are_documented() {
        let digest = Digest::sha256_of(b"a blob");
        let keys = [chunk(&digest, 0), index(&digest)];
        assert_eq!(cache_testkit::documented("formats.md", "keys in Redis"), keys);
    }

    #[test]
    fn the_key_of_an_index_tells_its_layer_and_others_do_not() {
        for digest in [
            Digest::sha256_of(b"a"),
            Digest::from_hash(Algorithm::Sha512, &[7; 64]).unwrap(),
        ] {
            assert_eq!(parse_index(index(&digest).as_bytes()), Some(digest));
            assert_eq!(parse_index(chunk(&digest, 0).as_bytes()), None);
            assert_eq!(parse_index(format!("x{}", index(&digest)).as_bytes()), None);
        }
        assert_eq!(parse_index(b"clip:oci:layer:decompressed:\xff:index"), None);
    }
}

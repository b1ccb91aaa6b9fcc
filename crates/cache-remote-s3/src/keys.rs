//! The format: what is kept in the bucket, and under which keys.
//!
//! ```text
//! <prefix>clip:oci:layer:decompressed:sha256:<64 hex>          the layer: its raw bytes, one object
//! <prefix>clip:oci:layer:decompressed:sha256:<64 hex>:index    its index, sealed
//! ```
//! (`sha512` and 128 hex digits where the digest is a SHA-512.) The index is put last and removed first: it is the commit.
//! An object without an index is not a layer, and an index without an object, or with one of another length, is none
//! either. That takes no conditional request, which not every server has; of writers that race, each puts the same bytes.

use cache_core::Digest;

const LAYER: &str = "clip:oci:layer:decompressed:";
const INDEX: &str = ":index";

/// The keys under one prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    all: Box<str>,
}

/// What a key of this format names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Layer(Digest),
    Index(Digest),
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            all: format!("{prefix}{LAYER}").into(),
        }
    }

    /// What all keys begin with.
    pub(crate) fn all(&self) -> &str {
        &self.all
    }

    pub(crate) fn layer(&self, digest: &Digest) -> String {
        format!("{}{digest}", self.all)
    }

    pub(crate) fn index(&self, digest: &Digest) -> String {
        format!("{}{digest}{INDEX}", self.all)
    }

    /// `None` for what somebody else keeps in the bucket.
    pub(crate) fn parse(&self, key: &str) -> Option<Named> {
        let name = key.strip_prefix(&*self.all)?;
        match name.strip_suffix(INDEX) {
            Some(digest) => digest.parse().ok().map(Named::Index),
            None => name.parse().ok().map(Named::Layer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::Algorithm;

    #[test]
    fn the_keys_are_those_that_are_documented() {
        let (keys, digest) = (Keys::new("prod/"), Digest::sha256_of(b"a blob"));
        let documented = cache_testkit::documented("formats.md", "keys in S3");
        assert_eq!(documented, [keys.layer(&digest), keys.index(&digest)]);
    }

    #[test]
    fn keys_are_read_back_and_strangers_are_not() {
        for prefix in ["", "some/folder/"] {
            let keys = Keys::new(prefix);
            let sha512 = Digest::from_hash(Algorithm::Sha512, &[7; 64]).unwrap();
            for digest in [Digest::sha256_of(b"blob"), sha512] {
                assert_eq!(keys.parse(&keys.layer(&digest)), Some(Named::Layer(digest)));
                assert_eq!(keys.parse(&keys.index(&digest)), Some(Named::Index(digest)));
                assert_eq!(Keys::new("other").parse(&keys.layer(&digest)), None);
                assert_eq!(keys.parse(&format!("{}:tree", keys.layer(&digest))), None);
            }
            assert_eq!(keys.parse(keys.all()), None);
        }
        let key = Keys::new("p/").index(&Digest::sha256_of(b"blob"));
        assert!(
            key.starts_with("p/clip:oci:layer:decompressed:sha256:") && key.ends_with(":index"),
            "{key}"
        );
    }
}

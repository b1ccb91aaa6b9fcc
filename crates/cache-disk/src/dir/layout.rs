//! The names of the files in a cache directory.

use cache_core::{Digest, Error, Result};

/// Subdirectory of the per-layer host locks.
pub(crate) const LOCK_DIR: &str = "lock";
/// Subdirectory of the files being written, where they need a name.
pub(crate) const STAGING_DIR: &str = "staging";
/// Subdirectory of the records of images.
pub(crate) const IMAGE_DIR: &str = "image";
/// Subdirectory of wrong layers that are kept for an operator to look at.
pub(crate) const QUARANTINE_DIR: &str = "quarantine";
/// The lock that is held while a layer is made room for and appears, and while the record of an
/// image changes.
pub(crate) const QUOTA_LOCK: &str = "quota";

/// The kind of the file that is the layer.
pub(crate) const LAYER: &str = "decompressed";
/// The kind of the layer's index.
pub(crate) const INDEX: &str = "index";

const PREFIX: &str = "layer-";
const MAX_KIND_LEN: usize = 32;

/// Returns the name of the file of `kind` that belongs to the layer `digest`.
pub(crate) fn file_name(digest: &Digest, kind: &str) -> String {
    format!("{PREFIX}{}.{kind}", digest.hex())
}

/// Parses the name of a file into its layer and kind; `None` when it is none of the tier's.
pub(crate) fn parse_file_name(name: &str) -> Option<(Digest, &str)> {
    let (hex, kind) = name.strip_prefix(PREFIX)?.split_once('.')?;
    Some((Digest::from_hex(hex).ok()?, kind)).filter(|(_, kind)| is_kind(kind))
}

fn is_kind(kind: &str) -> bool {
    (1..=MAX_KIND_LEN).contains(&kind.len()) && kind.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// Refuses a `kind` that cannot be a companion's: it becomes part of a file name.
pub(crate) fn check_companion_kind(kind: &str) -> Result<()> {
    if is_kind(kind) && kind != LAYER && kind != INDEX {
        return Ok(());
    }
    Err(Error::permanent(format!(
        "a companion's kind has 1 to {MAX_KIND_LEN} letters a-z and is neither {LAYER} nor {INDEX}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_not_ours() {
        let digest = Digest::sha256_of(b"blob");
        let name = file_name(&digest, LAYER);
        assert_eq!(name, format!("layer-{}.decompressed", digest.hex()));
        assert_eq!(parse_file_name(&name), Some((digest, LAYER)));
        let hex = digest.hex();
        for other in [
            "lock".to_owned(),
            format!("layer-{hex}"),
            format!("layer-{hex}."),
            format!("layer-{hex}.tar.gz"),
            format!("layer-{hex}.Index"),
            format!("layer-{}.index", &hex[1..]),
            format!("layer-{hex}.{}", "a".repeat(33)),
        ] {
            assert_eq!(parse_file_name(&other), None, "{other}");
        }
    }

    #[test]
    fn companion_kinds_cannot_leave_the_directory_or_hide_the_layer() {
        assert!(check_companion_kind("tarindex").is_ok());
        for kind in [
            "",
            "../x",
            "a/b",
            "a.b",
            "Tar",
            "index",
            "decompressed",
            &"a".repeat(33),
        ] {
            assert!(check_companion_kind(kind).is_err(), "{kind}");
        }
    }
}

//! The record of an image: which layers it has, and whether they are pinned.
//!
//! ```text
//! <dir>/image/<64 hex>   JSON of at most 256 KiB, on one line:
//! {"version":1,"name":"docker.io/library/debian:12","platform":"linux/amd64","manifest":"sha256:...",
//!  "layers":["sha256:...","sha256:..."],"lengths":[131072,2048],"pinned":false}
//! ```
//!
//! The hex digits are the SHA-256 of name and platform with a line break in between. The content of
//! such a file is hostile until it was parsed. A record of another version is left to the program
//! that wrote it.

use cache_core::{Digest, Error, Result};
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;
/// Longest record in bytes.
pub(crate) const MAX_RECORD_LEN: usize = 256 << 10;
/// Longest name in bytes: that of an image in a directory has its path.
const MAX_NAME_LEN: usize = 4 << 10;
const MAX_PLATFORM_LEN: usize = 128;
const MAX_LAYERS: usize = 1024;

/// The layers that make up an image. The tier knows no more of images than this.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageRecord {
    /// The image's name, in 1 to 4096 bytes without control characters.
    pub name: String,
    /// The image's platform, in at most 128 bytes without control characters.
    pub platform: String,
    /// The manifest that has named the layers; `None` where there is none.
    pub manifest: Option<Digest>,
    /// The layers, the base first; at most 1024.
    pub layers: Vec<Digest>,
    /// Bytes of each of `layers`, in their order; empty where these are not known.
    pub lengths: Vec<u64>,
    /// Set if the layers are evicted after all others.
    pub pinned: bool,
}

/// A record as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    name: String,
    platform: String,
    manifest: Option<String>,
    layers: Vec<String>,
    #[serde(default)]
    lengths: Vec<u64>,
    pinned: bool,
}

/// The part that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// A file among the records, decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    Record(ImageRecord),
    /// A record of a version that this program does not know.
    Foreign,
    Broken,
}

impl ImageRecord {
    /// Makes a record of an image that is not pinned.
    pub fn new(name: impl Into<String>, platform: impl Into<String>, layers: Vec<Digest>) -> Self {
        Self {
            name: name.into(),
            platform: platform.into(),
            manifest: None,
            layers,
            lengths: Vec::new(),
            pinned: false,
        }
    }

    /// Sets [`manifest`](Self::manifest).
    #[must_use]
    pub fn with_manifest(mut self, manifest: impl Into<Option<Digest>>) -> Self {
        self.manifest = manifest.into();
        self
    }

    /// Sets [`lengths`](Self::lengths).
    #[must_use]
    pub fn with_lengths(mut self, lengths: Vec<u64>) -> Self {
        self.lengths = lengths;
        self
    }

    /// Sets [`pinned`](Self::pinned).
    #[must_use]
    pub fn with_pinned(mut self, pinned: bool) -> Self {
        self.pinned = pinned;
        self
    }

    /// Returns the name of its file.
    pub(crate) fn file_name(&self) -> String {
        file_name(&self.name, &self.platform)
    }

    /// Refuses a record that could not be read again.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_sound() {
            return Ok(());
        }
        Err(Error::permanent(format!(
            "an image has a name of 1 to {MAX_NAME_LEN} bytes, a platform of at most {MAX_PLATFORM_LEN}, neither with control \
             characters, at most {MAX_LAYERS} layers, and a length for all of them or none"
        )))
    }

    fn is_sound(&self) -> bool {
        let plain = |text: &str| !text.chars().any(char::is_control);
        (1..=MAX_NAME_LEN).contains(&self.name.len())
            && self.platform.len() <= MAX_PLATFORM_LEN
            && plain(&self.name)
            && plain(&self.platform)
            && self.layers.len() <= MAX_LAYERS
            && (self.lengths.is_empty() || self.lengths.len() == self.layers.len())
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let stored = Stored {
            version: VERSION,
            name: self.name.clone(),
            platform: self.platform.clone(),
            manifest: self.manifest.map(|digest| digest.to_string()),
            layers: self.layers.iter().map(Digest::to_string).collect(),
            lengths: self.lengths.clone(),
            pinned: self.pinned,
        };
        serde_json::to_vec(&stored).map_err(|error| {
            Error::permanent("the record of an image cannot be written as JSON").caused_by(error)
        })
    }
}

/// Returns the name of the file of a record.
pub(crate) fn file_name(name: &str, platform: &str) -> String {
    Digest::sha256_of(format!("{name}\n{platform}").as_bytes()).hex()
}

/// Decodes the bytes of the file `file`.
pub(crate) fn decode(file: &str, bytes: &[u8]) -> Decoded {
    match serde_json::from_slice(bytes) {
        Ok(Versioned { version: VERSION }) => {}
        Ok(_) => return Decoded::Foreign,
        Err(_) => return Decoded::Broken,
    }
    let parsed = serde_json::from_slice(bytes).ok().and_then(parse);
    match parsed.filter(|record| record.is_sound() && record.file_name() == file) {
        Some(record) => Decoded::Record(record),
        None => Decoded::Broken,
    }
}

fn parse(stored: Stored) -> Option<ImageRecord> {
    let manifest = match stored.manifest {
        Some(digest) => Some(digest.parse().ok()?),
        None => None,
    };
    let layers = stored.layers.iter().map(|digest| digest.parse().ok());
    Some(ImageRecord {
        name: stored.name,
        platform: stored.platform,
        manifest,
        layers: layers.collect::<Option<_>>()?,
        lengths: stored.lengths,
        pinned: stored.pinned,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ImageRecord {
        let layers = vec![Digest::sha256_of(b"base"), Digest::sha256_of(b"app")];
        ImageRecord::new("docker.io/library/debian:12", "linux/amd64", layers)
            .with_manifest(Digest::sha256_of(b"manifest"))
            .with_lengths(vec![131_072, 2048])
            .with_pinned(true)
    }

    fn decoded(record: &ImageRecord, change: impl Fn(&str) -> String) -> Decoded {
        let text = String::from_utf8(record.encode().unwrap()).unwrap();
        decode(&record.file_name(), change(&text).as_bytes())
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let without = ImageRecord::new("oci:/srv/a b:v1", "", Vec::new());
        for record in [record(), without] {
            assert_eq!(decoded(&record, str::to_owned), Decoded::Record(record.clone()));
        }
    }

    #[test]
    fn the_record_on_the_page_is_the_one_that_is_written_and_read() {
        let layers = vec![Digest::sha256_of(b"a blob")];
        let record = ImageRecord::new("docker.io/library/debian:12", "linux/amd64", layers)
            .with_manifest(Digest::sha256_of(b"a manifest"))
            .with_lengths(vec![7]);
        let shown = cache_testkit::documented("formats.md", "a record").concat();
        assert_eq!(String::from_utf8(record.encode().unwrap()).unwrap(), shown);
        assert_eq!(
            decode(&record.file_name(), shown.as_bytes()),
            Decoded::Record(record)
        );
    }

    #[test]
    fn the_longest_record_can_be_read() {
        let layers = vec![Digest::from_hash(cache_core::Algorithm::Sha512, &[7; 64]).unwrap(); MAX_LAYERS];
        let longest = ImageRecord::new(
            "\u{10ffff}".repeat(MAX_NAME_LEN / 4),
            "p".repeat(MAX_PLATFORM_LEN),
            layers,
        )
        .with_lengths(vec![u64::MAX; MAX_LAYERS]);
        assert!(longest.check().is_ok());
        assert!(longest.encode().unwrap().len() <= MAX_RECORD_LEN);
    }

    #[test]
    fn another_version_is_not_ours_to_judge() {
        let other = decoded(&record(), |text| {
            text.replace("\"version\":1", "\"version\":2,\"news\":[]")
        });
        assert_eq!(other, Decoded::Foreign);
    }

    #[test]
    fn what_is_no_record_is_broken() {
        let changes: [(&str, &str); 9] = [
            ("131072,", ""),
            ("{", ""),
            ("\"version\":1", "\"version\":1,\"more\":2"),
            ("\"version\":1,", ""),
            ("sha256:", "sha1:"),
            ("debian:12", "debian:13"),
            ("linux/amd64", "linux/\\u001b[2J"),
            ("true", "\"yes\""),
            ("}", "} x"),
        ];
        for (from, to) in changes {
            let broken = decoded(&record(), |text| text.replace(from, to));
            assert_eq!(broken, Decoded::Broken, "{from} -> {to}");
        }
        assert_eq!(decode(&record().file_name(), b"\xff"), Decoded::Broken);
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_taken_for_a_record_is_one(at in 0usize..400, byte: u8, cut in 0usize..400) {
            let record = record();
            let mut bytes = record.encode().unwrap();
            let (at, cut) = (at % bytes.len(), cut % bytes.len());
            bytes[at] = byte;
            for bytes in [&bytes[..], &bytes[..cut], &bytes[cut..]] {
                if let Decoded::Record(found) = decode(&record.file_name(), bytes) {
                    assert!(found.check().is_ok());
                    assert_eq!((&found.name, &found.platform), (&record.name, &record.platform));
                }
            }
        }
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let digest = Digest::sha256_of(b"layer");
        for wrong in [
            ImageRecord::new("", "linux/amd64", Vec::new()),
            ImageRecord::new("a\nb", "linux/amd64", Vec::new()),
            ImageRecord::new("a".repeat(MAX_NAME_LEN + 1), "", Vec::new()),
            ImageRecord::new("a", "p".repeat(MAX_PLATFORM_LEN + 1), Vec::new()),
            ImageRecord::new("a", "\t", Vec::new()),
            ImageRecord::new("a", "", vec![digest; MAX_LAYERS + 1]),
            ImageRecord::new("a", "", vec![digest; 2]).with_lengths(vec![1]),
        ] {
            assert!(wrong.check().is_err(), "{:?} {:?}", wrong.name, wrong.platform);
        }
    }
}

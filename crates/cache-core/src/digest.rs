//! Content digests as the OCI image specification writes them: `algorithm:hex`.

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

/// A hash algorithm the OCI image specification registers for digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, the default of every registry.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name before the colon of a digest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of a hash in bytes.
    pub fn hash_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// The digest of some content: what a layer is addressed by and verified against.
///
/// Parsing is strict, because a digest becomes part of file names and keys: a known algorithm, a colon, and
/// exactly as many *lower-case* hex digits as the algorithm has.
///
/// ```
/// # use cache_core::Digest;
/// let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// let digest: Digest = text.parse().unwrap();
/// assert_eq!(digest, Digest::sha256_of(b""));
/// assert_eq!(digest.to_string(), text);
/// assert!("sha256:../../etc/passwd".parse::<Digest>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Repr);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

impl Digest {
    /// The SHA-256 digest of `content`.
    pub fn sha256_of(content: &[u8]) -> Self {
        Self(Repr::Sha256(sha2::Sha256::digest(content).into()))
    }

    /// A digest from the raw hash, which must have the length of `algorithm`; `None` otherwise.
    pub fn from_hash(algorithm: Algorithm, hash: &[u8]) -> Option<Self> {
        Some(Self(match algorithm {
            Algorithm::Sha256 => Repr::Sha256(hash.try_into().ok()?),
            Algorithm::Sha512 => Repr::Sha512(hash.try_into().ok()?),
        }))
    }

    /// The algorithm of the hash.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Repr::Sha256(_) => Algorithm::Sha256,
            Repr::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The raw hash: 32 or 64 bytes.
    pub fn hash(&self) -> &[u8] {
        match &self.0 {
            Repr::Sha256(hash) => hash,
            Repr::Sha512(hash) => hash,
        }
    }

    /// The hash in lower-case hex: what file names and keys are made of. The length tells the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.hash())
    }

    /// Parses the hex part alone, as found in a file name; its length decides the algorithm.
    ///
    /// # Errors
    /// When it is not exactly the hash of one of the algorithms.
    pub fn from_hex(text: &str) -> Result<Self, ParseDigestError> {
        let algorithm = [Algorithm::Sha256, Algorithm::Sha512]
            .into_iter()
            .find(|algorithm| algorithm.hash_len() * 2 == text.len())
            .ok_or(ParseDigestError::Length)?;
        Self::parse_hex(algorithm, text)
    }

    fn parse_hex(algorithm: Algorithm, text: &str) -> Result<Self, ParseDigestError> {
        if text.len() != algorithm.hash_len() * 2 {
            return Err(ParseDigestError::Length);
        }
        if text
            .bytes()
            .any(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(ParseDigestError::Hex);
        }
        let hash = hex::decode(text).map_err(|_| ParseDigestError::Hex)?;
        Self::from_hash(algorithm, &hash).ok_or(ParseDigestError::Length)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, hex) = text.split_once(':').ok_or(ParseDigestError::Format)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(ParseDigestError::Algorithm),
        };
        Self::parse_hex(algorithm, hex)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm().name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a digest. The text itself is not repeated: it is untrusted and may be long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseDigestError {
    /// There is no colon.
    Format,
    /// The algorithm is neither `sha256` nor `sha512`.
    Algorithm,
    /// The hash has not the length of the algorithm.
    Length,
    /// A character of the hash is not a lower-case hex digit.
    Hex,
}

impl fmt::Display for ParseDigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "not a digest: expected `sha256:<64 hex digits>`",
            Self::Algorithm => "not a digest: the algorithm is neither sha256 nor sha512",
            Self::Length => "not a digest: the hash has the wrong length",
            Self::Hex => "not a digest: the hash is not lower-case hex",
        })
    }
}

impl std::error::Error for ParseDigestError {}

/// Computes a [`Digest`] of content that comes in pieces.
#[derive(Clone, Debug)]
pub struct DigestHasher(HasherRepr);

#[derive(Clone, Debug)]
enum HasherRepr {
    Sha256(sha2::Sha256),
    Sha512(Box<sha2::Sha512>),
}

impl DigestHasher {
    /// A hasher that has seen nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => HasherRepr::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => HasherRepr::Sha512(Box::default()),
        })
    }

    /// Adds the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        match &mut self.0 {
            HasherRepr::Sha256(hasher) => hasher.update(piece),
            HasherRepr::Sha512(hasher) => hasher.update(piece),
        }
    }

    /// The digest of all pieces in order.
    pub fn finish(self) -> Digest {
        Digest(match self.0 {
            HasherRepr::Sha256(hasher) => Repr::Sha256(hasher.finalize().into()),
            HasherRepr::Sha512(hasher) => Repr::Sha512(hasher.finalize().into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_is_not_exactly_a_digest() {
        let hex = "a".repeat(64);
        let cases = [
            (String::new(), ParseDigestError::Format),
            (hex.clone(), ParseDigestError::Format),
            (format!("md5:{hex}"), ParseDigestError::Algorithm),
            (format!("SHA256:{hex}"), ParseDigestError::Algorithm),
            (format!(" sha256:{hex}"), ParseDigestError::Algorithm),
            (format!("sha256:{}", &hex[1..]), ParseDigestError::Length),
            (format!("sha256:{hex}0"), ParseDigestError::Length),
            (format!("sha512:{hex}"), ParseDigestError::Length),
            (format!("sha256:{}", "A".repeat(64)), ParseDigestError::Hex),
            (format!("sha256:../{}", "a".repeat(61)), ParseDigestError::Hex),
            (format!("sha256:{}é", "a".repeat(62)), ParseDigestError::Hex),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Digest>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_and_hex_round_trip(content: Vec<u8>, long: bool) {
            let mut hasher = DigestHasher::new(if long { Algorithm::Sha512 } else { Algorithm::Sha256 });
            let (head, tail) = content.split_at(content.len() / 3);
            hasher.update(head);
            hasher.update(tail);
            let digest = hasher.finish();
            prop_assert_eq!(digest.to_string().parse(), Ok(digest));
            prop_assert_eq!(Digest::from_hex(&digest.hex()), Ok(digest));
            if !long {
                prop_assert_eq!(digest, Digest::sha256_of(&content));
            }
        }

        #[test]
        fn any_text_parses_or_is_refused_without_a_panic(text: String) {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}

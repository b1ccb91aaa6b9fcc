//! Which compression a blob has, told from its first bytes: media types lie.

/// How many bytes [`Format::sniff`] wants to see; fewer when the blob is shorter.
pub(super) const SNIFF_LEN: usize = 6;

/// The compression of a layer's blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 8878, any sequence of frames and skippable frames.
    Zstd,
    /// None: the blob is the tar itself.
    Tar,
    /// Known, but not used for layers by the OCI image specification.
    Unsupported(&'static str),
}

impl Format {
    pub(super) fn sniff(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', ..] => Self::Unsupported("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Unsupported("xz"),
            _ => Self::Tar,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Tar => "tar",
            Self::Unsupported(name) => name,
        }
    }

    /// How much of the layer is inflated at once, in bytes. Each piece wakes several threads, so that a fill by pieces of half the
    /// length takes a twentieth longer; but a zstd decoder has a window of megabytes beside its pieces, and a pull of an image is to
    /// stay within 32 MiB.
    pub(super) fn piece_len(self) -> usize {
        match self {
            Self::Zstd => 256 * 1024,
            _ => 512 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_decide() {
        assert_eq!(Format::sniff(&[0x1f, 0x8b, 8, 0, 0, 0]), Format::Gzip);
        assert_eq!(Format::sniff(&[0x28, 0xb5, 0x2f, 0xfd]), Format::Zstd);
        assert_eq!(Format::sniff(&[0x5e, 0x2a, 0x4d, 0x18]), Format::Zstd);
        assert_eq!(Format::sniff(b"BZh91A"), Format::Unsupported("bzip2"));
        assert_eq!(Format::sniff(b"etc/pa"), Format::Tar);
        assert_eq!(Format::sniff(&[0x1f]), Format::Tar);
        assert_eq!(Format::sniff(b""), Format::Tar);
    }
}

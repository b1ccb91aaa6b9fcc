//! The decoders behind one reader.

use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;

use super::format::Format;
use super::input::{Input, into_error};
use crate::{Error, Result};

/// Largest window a zstd frame may ask for, as a power of two: 128 MiB, what the `zstd` tool accepts by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// A layer's bytes, inflated from an [`Input`].
pub(super) enum Decoder {
    Gzip(Box<MultiGzDecoder<Input>>),
    Zstd(zstd::stream::read::Decoder<'static, Input>),
    Tar(Input),
}

impl Decoder {
    /// Chooses by the first bytes of `input`; waits for them.
    pub(super) fn new(mut input: Input) -> Result<(Self, Format)> {
        let head = input.peek().map_err(|error| into_error(error, "layer"))?;
        let format = Format::sniff(head);
        let decoder = match format {
            Format::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(input))),
            Format::Zstd => {
                let zstd = |error| Error::unavailable("cannot set up a zstd decoder").caused_by(error);
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(zstd)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(zstd)?;
                Self::Zstd(decoder)
            }
            Format::Tar => Self::Tar(input),
            Format::Unsupported(name) => {
                return Err(Error::permanent(format!(
                    "the blob is compressed with {name}; layers are gzip, zstd or plain tar"
                )));
            }
        };
        Ok((decoder, format))
    }

    pub(super) fn input(&self) -> &Input {
        match self {
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zstd(decoder) => decoder.get_ref(),
            Self::Tar(input) => input,
        }
    }
}

impl Read for Decoder {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(buf),
            Self::Zstd(decoder) => decoder.read(buf),
            Self::Tar(input) => input.read(buf),
        }
    }
}

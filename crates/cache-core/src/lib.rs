//! Contracts and composition of the tiered layer cache.

mod descriptor;
mod digest;
mod error;
mod index;
mod inflate;
mod source;
mod tier;

pub use descriptor::LayerDescriptor;
pub use digest::{Algorithm, Digest, DigestHasher, ParseDigestError};
pub use error::{Error, ErrorKind, Result};
pub use index::{CHUNK_LEN, ChunkHash, IndexBuilder, LayerIndex};
pub use inflate::{BlobReader, InflateLimits, Inflater};
pub use source::{ByteStream, Capabilities, LayerReader, LayerReaderExt, LayerSource, LayerSourceExt};
pub use tier::{Claim, LayerStat, LayerWriter, Tier};

//! A compressed blob on its way through the inflater.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::inflate::{BlobReader, InflateLimits, Inflater, check_range};
use cache_core::{ByteStream, Digest, Error, ErrorKind, LayerDescriptor, LayerReader, Result};
use futures_util::{StreamExt, stream};

use crate::runtime::block_on;

/// Never more than `max_layer_bytes` come out, never is there a hang, and the bytes are those that the decoders give
/// when they are used directly. A blob that is damaged, cut short, longer than its descriptor says or followed by
/// garbage ends with an error.
///
/// The first four bytes say how the blob is served and what is claimed of it; the rest are the blob.
pub fn inflate(bytes: &[u8]) {
    let Some(([piece, cap, lie, at], blob)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let blob = Bytes::copy_from_slice(blob);
    let cap = 1u64 << (cap % 22);
    let truth = decode(&blob, cap);
    let lie = Lie::from(lie % 8);
    let mut layer = LayerDescriptor::new(Digest::sha256_of(&blob)).with_size(blob.len() as u64);
    if let Truth::Layer(bytes) = &truth {
        layer = layer.with_diff_id(Digest::sha256_of(bytes));
    }
    match lie {
        Lie::Digest => layer.digest = Digest::sha256_of(b"another blob"),
        Lie::Size => layer.size = Some(blob.len() as u64 ^ (1 + u64::from(*at))),
        Lie::DiffId => layer.diff_id = Some(Digest::sha256_of(b"another layer")),
        Lie::Failure | Lie::None => {}
    }
    let source = Arc::new(Served {
        piece: 1 + usize::from(*piece) * usize::from(*piece),
        // Within the blob, or right behind it.
        fails_at: (lie == Lie::Failure).then(|| usize::from(*at) * blob.len() / 255),
        blob,
    });
    let inflater = Inflater::new(InflateLimits::default().with_max_layer_bytes(cap));
    let reader = inflater.reader("origin", &layer, source);
    let (streamed, read) = block_on(async {
        let mut buf = vec![0; 300];
        let read = reader.read_at((*at).into(), &mut buf).await;
        let read = read.map(|len| Bytes::copy_from_slice(&buf[..len]));
        (collect(reader).await, read)
    });
    check_stream(&truth, lie, cap, streamed);
    check_read(&truth, lie, usize::from(*at), read);
}

/// What is wrong with what is said of the blob, or with how it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    Digest,
    Size,
    /// A stream leaves the diff ID to its consumer.
    DiffId,
    /// The connection breaks.
    Failure,
}

impl From<u8> for Lie {
    fn from(choice: u8) -> Self {
        match choice {
            0 => Self::Digest,
            1 => Self::Size,
            2 => Self::DiffId,
            3 => Self::Failure,
            _ => Self::None,
        }
    }
}

/// What the decoders say when they are used directly.
enum Truth {
    Layer(Vec<u8>),
    /// It inflates to more than the cap, or cannot be told: something is wrong with it further on.
    Beyond(Vec<u8>),
    /// It is damaged behind these bytes.
    Damaged(Vec<u8>),
    Unsupported,
}

impl Truth {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Layer(bytes) | Self::Beyond(bytes) | Self::Damaged(bytes) => bytes,
            Self::Unsupported => &[],
        }
    }
}

fn decode(blob: &[u8], cap: u64) -> Truth {
    let mut decoder: Box<dyn Read + '_> = match blob {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut zstd = zstd::stream::read::Decoder::with_buffer(blob).expect("a decoder");
            zstd.window_log_max(27).expect("a window of 128 MiB");
            Box::new(zstd)
        }
        [b'B', b'Z', b'h', ..] | [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => return Truth::Unsupported,
        tar => Box::new(tar),
    };
    let mut bytes = Vec::new();
    let mut buf = [0; 4096];
    loop {
        match decoder.read(&mut buf) {
            Ok(0) => return Truth::Layer(bytes),
            Ok(read) => bytes.extend_from_slice(&buf[..read]),
            Err(_) => return Truth::Damaged(bytes),
        }
        if bytes.len() as u64 > cap {
            return Truth::Beyond(bytes);
        }
    }
}

/// A blob in pieces of `piece` bytes, whose connection breaks at `fails_at`.
#[derive(Debug)]
struct Served {
    blob: Bytes,
    piece: usize,
    fails_at: Option<usize>,
}

#[async_trait]
impl BlobReader for Served {
    fn stream(self: Arc<Self>) -> ByteStream {
        let blob = self.blob.slice(..self.fails_at.unwrap_or(self.blob.len()));
        let pieces: Vec<_> = blob
            .chunks(self.piece)
            .map(|piece| Ok(blob.slice_ref(piece)))
            .collect();
        let failure = self
            .fails_at
            .map(|_| Err(Error::unavailable("the connection broke")));
        stream::iter(pieces.into_iter().chain(failure)).boxed()
    }

    async fn fetch(self: Arc<Self>, range: Range<u64>) -> Result<Option<Bytes>> {
        check_range(&range, Some(self.blob.len() as u64))?;
        Ok(Some(self.blob.slice(range.start as usize..range.end as usize)))
    }
}

/// What a stream hands out, and the error it ends with.
async fn collect(reader: Arc<dyn LayerReader>) -> (Vec<u8>, Option<Error>) {
    let mut stream = reader.stream(0);
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => {
                assert!(!piece.is_empty(), "an empty piece");
                bytes.extend_from_slice(&piece);
            }
            Err(error) => {
                assert!(stream.next().await.is_none(), "a stream goes on behind its error");
                return (bytes, Some(error));
            }
        }
    }
    (bytes, None)
}

fn check_stream(truth: &Truth, lie: Lie, cap: u64, (bytes, error): (Vec<u8>, Option<Error>)) {
    assert!(
        bytes.len() as u64 <= cap,
        "{} bytes came out of {cap}",
        bytes.len()
    );
    // The decoders may be in front of each other within the last buffer.
    let common = bytes.len().min(truth.bytes().len());
    assert!(bytes[..common] == truth.bytes()[..common], "other bytes come out");
    match (truth, lie, error) {
        (Truth::Layer(layer), Lie::None | Lie::DiffId, error) => {
            assert!(error.is_none(), "a right blob fails: {error:?}");
            assert!(
                bytes == *layer,
                "{} of {} bytes come out",
                bytes.len(),
                layer.len()
            );
        }
        (_, _, None) => panic!("a wrong blob passes"),
        (_, Lie::None | Lie::DiffId, Some(error)) => check_kind(truth, &error),
        (_, Lie::Digest | Lie::Size | Lie::Failure, Some(_)) => {}
    }
}

fn check_read(truth: &Truth, lie: Lie, at: usize, read: Result<Bytes, Error>) {
    match (truth, lie, read) {
        (Truth::Layer(layer), Lie::None, read) => {
            let expected = &layer[at.min(layer.len())..(at + 300).min(layer.len())];
            assert_eq!(read.expect("a right blob is read"), expected);
        }
        (_, _, Ok(_)) => panic!("bytes of a wrong blob are read"),
        (_, Lie::None, Err(error)) => check_kind(truth, &error),
        (Truth::Layer(_), Lie::Failure, Err(error)) => assert_eq!(error.kind(), ErrorKind::Unavailable),
        (Truth::Layer(_), _, Err(error)) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
        (_, _, Err(_)) => {}
    }
}

fn check_kind(truth: &Truth, error: &Error) {
    let kind = error.kind();
    match truth {
        Truth::Layer(_) => panic!("a right blob fails: {error}"),
        // What is wrong behind the cap may be found first.
        Truth::Beyond(_) => assert!(
            matches!(kind, ErrorKind::Permanent | ErrorKind::Corrupt),
            "{error}"
        ),
        Truth::Damaged(_) => assert_eq!(kind, ErrorKind::Corrupt, "{error}"),
        Truth::Unsupported => assert_eq!(kind, ErrorKind::Permanent, "{error}"),
    }
}

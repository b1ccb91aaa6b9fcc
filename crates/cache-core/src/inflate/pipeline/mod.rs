//! One inflate: receive and hash on the runtime, inflate on a thread of its own, with bounded buffers between.
//!
//! ```text
//! blob stream ─► receive + hash (task) ─► 256 KiB ─► inflate (thread) ─► 256 or 512 KiB ─► consumer
//! ```
//! Whoever goes away stops the others: the consumer drops the receiver, so the thread's next send fails, so the task is
//! aborted with the guard in the stream. A panic of the thread is an error of the stream.

mod decoder;
mod format;
mod input;

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc::error::TrySendError;

use self::decoder::Decoder;
use self::input::{Input, into_error, receive};
use super::blob::BlobReader;
use super::limits::Shared;
use crate::runtime::{AbortOnDropHandle, Handle, JoinHandle, mpsc, spawn, spawn_blocking, timeout};
use crate::{ByteStream, Error, LayerDescriptor, Result};

/// Pieces between two stages, beside those that they work on: enough for neither to wait for the other while both go on.
const QUEUE_LEN: usize = 1;

/// The layer in `blob`. Nothing happens before the stream is polled; it ends with an error unless digest and size of the
/// blob are right.
pub(super) fn inflate(shared: Arc<Shared>, layer: LayerDescriptor, blob: Arc<dyn BlobReader>) -> ByteStream {
    let start = async move { Running::start(shared, layer, blob).await };
    stream::once(start)
        .flat_map(|running| match running {
            Ok(running) => stream::unfold(running, Running::next).boxed(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        })
        .boxed()
}

struct Running {
    pieces: mpsc::Receiver<Bytes>,
    /// `None` once its result was reported.
    inflating: Option<JoinHandle<Result<()>>>,
    _receiving: AbortOnDropHandle<()>,
}

impl Running {
    async fn start(shared: Arc<Shared>, layer: LayerDescriptor, blob: Arc<dyn BlobReader>) -> Result<Self> {
        let queued = timeout(
            shared.limits.max_queued,
            Arc::clone(&shared.permits).acquire_owned(),
        )
        .await;
        let permit = queued.ok().and_then(std::result::Result::ok).ok_or_else(|| {
            Error::unavailable("too many layers are being inflated, and none ended in time: try again")
        })?;
        tracing::info!(digest = %layer.digest, "decompressing layer (first access)");
        let (compressed, input) = mpsc::channel(QUEUE_LEN);
        let (inflated, pieces) = mpsc::channel(QUEUE_LEN);
        let receiving = spawn(receive(blob.stream(), layer.clone(), compressed));
        let runtime = Handle::current();
        let inflating = spawn_blocking(move || {
            // The permit stands for the decoder's memory, so it lives as long as the thread.
            let _permit = permit;
            run(&shared, &layer, Input::new(input), &inflated, &runtime)
        });
        Ok(Self {
            pieces,
            inflating: Some(inflating),
            _receiving: AbortOnDropHandle::new(receiving),
        })
    }

    async fn next(mut self) -> Option<(Result<Bytes>, Self)> {
        if let Some(piece) = self.pieces.recv().await {
            return Some((Ok(piece), self));
        }
        let error = match self.inflating.take()?.await {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => error,
            Err(panic) => Error::unavailable("inflating the layer panicked").caused_by(panic),
        };
        Some((Err(error), self))
    }
}

/// Inflates all of `input` into `pieces`; ends early, without an error, when nobody wants them.
fn run(
    shared: &Shared,
    layer: &LayerDescriptor,
    input: Input,
    pieces: &mpsc::Sender<Bytes>,
    runtime: &Handle,
) -> Result<()> {
    let (mut decoder, format) = Decoder::new(input)?;
    let mut inflate = shared.stats.begin(&layer.digest);
    let mut recycled = Recycled::default();
    loop {
        let start = Instant::now();
        let waited = decoder.input().waited();
        let mut piece = recycled.take(format.piece_len());
        let mut filled = 0;
        while filled < piece.len() {
            match decoder
                .read(&mut piece[filled..])
                .map_err(|error| into_error(error, format.name()))?
            {
                0 => break,
                read => filled += read,
            }
        }
        let busy = start.elapsed().saturating_sub(decoder.input().waited() - waited);
        inflate.record(filled as u64, busy);
        if filled == 0 {
            return Ok(());
        }
        if inflate.bytes() > shared.limits.max_layer_bytes {
            return Err(Error::permanent(format!(
                "the layer inflates to more than max_layer_bytes ({}): a decompression bomb, or the limit is too low",
                shared.limits.max_layer_bytes
            )));
        }
        piece.truncate(filled);
        let piece = piece.freeze();
        recycled.put(piece.clone());
        // No timer where there is room.
        let piece = match pieces.try_send(piece) {
            Ok(()) => continue,
            Err(TrySendError::Full(piece)) => piece,
            Err(TrySendError::Closed(_)) => return Ok(()),
        };
        match runtime.block_on(timeout(shared.limits.max_idle, pieces.send(piece))) {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(()),
            Err(_) => {
                return Err(Error::unavailable(
                    "the layer's stream was left unread for too long",
                ));
            }
        }
    }
}

/// Pieces that were sent, to be used again when nobody looks at them any more: an allocator keeps much of what it gives to one thread
/// and gets back from another.
#[derive(Default)]
struct Recycled(VecDeque<Bytes>);

impl Recycled {
    /// As many as are on their way when the consumer keeps up: in the queue, and one each at both ends.
    const MOST: usize = QUEUE_LEN + 2;

    /// A piece of `len` bytes of any value.
    fn take(&mut self, len: usize) -> BytesMut {
        let full = self.0.len() >= Self::MOST;
        let oldest = if full { self.0.pop_front() } else { None };
        match oldest.map(Bytes::try_into_mut) {
            Some(Ok(mut piece)) => {
                piece.resize(len, 0);
                piece
            }
            _ => BytesMut::zeroed(len),
        }
    }

    fn put(&mut self, piece: Bytes) {
        self.0.push_back(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE_LEN: usize = 1000;
    const MARK: u8 = 7;

    #[test]
    fn a_piece_is_used_again_only_when_nobody_looks_at_it() {
        let mut recycled = Recycled::default();
        let mut sent = Vec::new();
        for _ in 0..Recycled::MOST {
            let mut piece = recycled.take(PIECE_LEN);
            piece.fill(MARK);
            let piece = piece.freeze();
            recycled.put(piece.clone());
            sent.push(piece);
        }
        let seen = sent.remove(0);
        assert_ne!(recycled.take(PIECE_LEN).as_ptr(), seen.as_ptr());

        recycled.put(Bytes::new());
        let free = sent.remove(0).as_ptr();
        let again = recycled.take(PIECE_LEN);
        assert_eq!((again.as_ptr(), again.len()), (free, PIECE_LEN));
        // An allocator may give the same place again, but not with what was there.
        assert!(again.iter().all(|&byte| byte == MARK));
    }
}

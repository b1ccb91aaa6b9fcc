//! A layer as the verified chunks of a remote store.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::task::consume_budget;
use tokio_util::task::AbortOnDropHandle;

use super::{ChunkStore, FetchPlan, RecentChunks};
use crate::index::{CHUNK_LEN, ChunkHash};
use crate::{ByteStream, Error, LayerIndex, LayerReader, Result};

/// A [`LayerReader`] over the chunks of a [`ChunkStore`].
///
/// A read fetches the chunks that it touches and no other; a stream has a bounded number of requests in flight. Every
/// chunk is compared with its hash in the index before a byte of it is handed out.
#[derive(Debug)]
pub struct ChunkedReader<C> {
    store: Arc<C>,
    index: Arc<LayerIndex>,
    tier: Arc<str>,
    plan: FetchPlan,
    recent: Arc<RecentChunks>,
}

impl<C> Clone for ChunkedReader<C> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            index: Arc::clone(&self.index),
            tier: Arc::clone(&self.tier),
            plan: self.plan,
            recent: Arc::clone(&self.recent),
        }
    }
}

impl<C: ChunkStore> ChunkedReader<C> {
    /// A reader of the layer that `index` describes, in errors of the tier named `tier`. `index` has to be
    /// [admitted](crate::index::Seal::admit): the reader goes by it.
    pub fn new(
        store: C,
        index: LayerIndex,
        tier: Arc<str>,
        plan: FetchPlan,
        recent: Arc<RecentChunks>,
    ) -> Self {
        Self {
            store: Arc::new(store),
            index: Arc::new(index),
            tier,
            plan,
            recent,
        }
    }

    fn place(&self, error: Error) -> Error {
        error.at(&self.tier, "read").of_layer(self.index.digest())
    }

    /// The chunks that hold the bytes from `start` to `end`, which are in the layer.
    fn chunks_of(start: u64, end: u64) -> Result<Range<usize>> {
        let number =
            |chunk| usize::try_from(chunk).map_err(|_| Error::permanent("the layer has too many chunks"));
        let chunk_len = u64::from(CHUNK_LEN);
        Ok(number(start / chunk_len)?..number(end.div_ceil(chunk_len))?)
    }

    /// Verified chunks in order, a bounded number of requests at once. `keep` remembers them for other reads.
    fn verified(
        &self,
        chunks: Range<usize>,
        keep: bool,
    ) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        let step = self.plan.chunks_per_fetch.max(1);
        let reader = self.clone();
        let batches = chunks.clone().step_by(step);
        stream::iter(batches)
            .map(move |first| {
                let reader = reader.clone();
                let batch = first..(first + step).min(chunks.end);
                async move {
                    reader
                        .batch(batch, keep)
                        .await
                        .map_err(|error| reader.place(error))
                }
            })
            .buffered(self.plan.in_flight.max(1))
            .map_ok(|batch| stream::iter(batch.into_iter().map(Ok)))
            .try_flatten()
    }

    async fn batch(&self, chunks: Range<usize>, keep: bool) -> Result<Vec<Bytes>> {
        let hashes = &self.index.chunks()[chunks.clone()];
        let recent: Option<Vec<_>> = hashes.iter().map(|hash| self.recent.get(hash)).collect();
        if let Some(recent) = recent {
            return Ok(recent);
        }
        // A task: what has come is verified while the consumer works on the chunks before it.
        let fetching = tokio::spawn(self.clone().fetch(chunks));
        let fetched = AbortOnDropHandle::new(fetching)
            .await
            .map_err(|error| Error::unavailable("fetching the layer failed").caused_by(error))??;
        if keep {
            for (hash, bytes) in hashes.iter().zip(&fetched) {
                self.recent.put(ChunkHash::clone(hash), bytes.clone());
            }
        }
        Ok(fetched)
    }

    async fn fetch(self, chunks: Range<usize>) -> Result<Vec<Bytes>> {
        let fetched = self.store.fetch(chunks.clone()).await?;
        if fetched.len() != chunks.len() {
            return Err(Error::unavailable(
                "the store answered with another number of chunks",
            ));
        }
        for (chunk, bytes) in chunks.zip(&fetched) {
            // A store may answer with any length: what is hashed at once is not more than a chunk, about 100 us.
            let expected = self.index.chunk_len(chunk);
            let right = bytes.len() == expected && self.index.verify_chunk(chunk, bytes);
            if !right {
                return Err(Error::corrupt(match bytes.len() {
                    len if len == expected => format!("chunk {chunk} of the layer does not match its hash"),
                    len => format!("chunk {chunk} of the layer has {len} bytes instead of {expected}"),
                }));
            }
            consume_budget().await;
        }
        Ok(fetched)
    }
}

#[async_trait]
impl<C: ChunkStore> LayerReader for ChunkedReader<C> {
    fn len(&self) -> Option<u64> {
        Some(self.index.len())
    }

    fn random_access(&self) -> bool {
        true
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let end = self.index.len().min(offset.saturating_add(buf.len() as u64));
        if offset >= end {
            return Ok(0);
        }
        let chunks = Self::chunks_of(offset, end).map_err(|error| self.place(error))?;
        // Where in its chunk a range begins fits any usize.
        let mut skip = (offset % u64::from(CHUNK_LEN)) as usize;
        let mut verified = std::pin::pin!(self.verified(chunks, true));
        let mut read = 0;
        while let Some(chunk) = verified.try_next().await? {
            let part = &chunk[skip..];
            let len = part.len().min(buf.len() - read);
            buf[read..read + len].copy_from_slice(&part[..len]);
            read += len;
            skip = 0;
        }
        Ok(read)
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let len = self.index.len();
        if offset >= len {
            return stream::empty().boxed();
        }
        let chunks = match Self::chunks_of(offset, len) {
            Ok(chunks) => chunks,
            Err(error) => return stream::once(std::future::ready(Err(self.place(error)))).boxed(),
        };
        let mut skip = (offset % u64::from(CHUNK_LEN)) as usize;
        // A stream reads each chunk once: keeping them would only push out what others read again.
        let mut failed = false;
        self.verified(chunks, false)
            .map_ok(move |mut chunk| chunk.split_off(std::mem::take(&mut skip)))
            .take_while(move |piece| {
                let go_on = !failed;
                failed = piece.is_err();
                std::future::ready(go_on)
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;
    use crate::index::IndexBuilder;
    use crate::{Algorithm, Digest, ErrorKind, LayerReaderExt};

    #[derive(Debug)]
    struct Store {
        layer: Bytes,
        wrong: Option<usize>,
        damage: fn(Bytes) -> Bytes,
        fetched: Arc<Mutex<Vec<usize>>>,
    }

    fn flipped(bytes: Bytes) -> Bytes {
        let mut bytes = bytes.to_vec();
        bytes[0] ^= 1;
        bytes.into()
    }

    #[async_trait]
    impl ChunkStore for Store {
        async fn fetch(&self, chunks: Range<usize>) -> Result<Vec<Bytes>> {
            let chunk_len = CHUNK_LEN as usize;
            self.fetched.lock().unwrap().extend(chunks.clone());
            Ok(chunks
                .map(|chunk| {
                    let start = chunk * chunk_len;
                    let bytes = self.layer.slice(start..(start + chunk_len).min(self.layer.len()));
                    if self.wrong == Some(chunk) {
                        return (self.damage)(bytes);
                    }
                    bytes
                })
                .collect())
        }
    }

    type Fetched = Arc<Mutex<Vec<usize>>>;

    fn reader(
        len: usize,
        wrong: Option<usize>,
        recent: usize,
        plan: FetchPlan,
    ) -> (Bytes, Fetched, Arc<ChunkedReader<Store>>) {
        damaged_reader(len, wrong, flipped, recent, plan)
    }

    fn damaged_reader(
        len: usize,
        wrong: Option<usize>,
        damage: fn(Bytes) -> Bytes,
        recent: usize,
        plan: FetchPlan,
    ) -> (Bytes, Fetched, Arc<ChunkedReader<Store>>) {
        let layer: Bytes = (0..len)
            .map(|i| (i % 251) as u8 ^ (i / 4096) as u8)
            .collect::<Vec<_>>()
            .into();
        let mut builder = IndexBuilder::new(Algorithm::Sha256);
        builder.update(&layer);
        let index = builder.finish(Digest::sha256_of(b"blob"));
        let fetched = Fetched::default();
        let store = Store {
            layer: layer.clone(),
            wrong,
            damage,
            fetched: Arc::clone(&fetched),
        };
        let recent = Arc::new(RecentChunks::new(recent));
        (
            layer,
            fetched,
            Arc::new(ChunkedReader::new(store, index, "far".into(), plan, recent)),
        )
    }

    const PLAN: FetchPlan = FetchPlan {
        chunks_per_fetch: 1,
        in_flight: 4,
    };

    #[tokio::test]
    async fn a_read_fetches_what_it_touches_and_small_reads_in_a_row_fetch_it_once() {
        let chunk = CHUNK_LEN as usize;
        let (layer, fetched, reader) = reader(4 * chunk + 10, None, 8, PLAN);
        for at in [0, 1000, 2000] {
            let offset = 2 * chunk + at;
            assert_eq!(
                reader.read_bytes(offset as u64, 100).await.unwrap(),
                layer[offset..offset + 100]
            );
        }
        assert_eq!(*fetched.lock().unwrap(), [2]);
        reader.read_bytes((4 * chunk - 1) as u64, 2).await.unwrap();
        assert_eq!(*fetched.lock().unwrap(), [2, 3, 4]);
    }

    #[tokio::test]
    async fn a_wrong_chunk_is_an_error_that_names_it_and_ends_a_stream() {
        let chunk = CHUNK_LEN as usize;
        let (layer, _, reader) = reader(4 * chunk, Some(2), 8, PLAN);
        assert_eq!(
            reader.read_bytes(chunk as u64, chunk).await.unwrap(),
            layer[chunk..2 * chunk]
        );
        let error = reader.read_bytes((2 * chunk) as u64, 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(
            (error.tier(), error.layer()),
            (Some("far"), Some(&Digest::sha256_of(b"blob")))
        );
        assert!(
            error
                .to_string()
                .contains("chunk 2 of the layer does not match its hash"),
            "{error}"
        );

        let pieces: Vec<_> = reader.stream(0).collect().await;
        assert_eq!(pieces.len(), 3);
        assert!(pieces[..2].iter().all(Result::is_ok) && pieces[2].is_err());
    }

    #[tokio::test]
    async fn a_chunk_of_another_length_is_an_error_that_says_so() {
        let cut = |bytes: Bytes| bytes.slice(1..);
        let (_, _, reader) = damaged_reader(CHUNK_LEN as usize, Some(0), cut, 8, PLAN);
        let error = reader.read_bytes(0, 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(
            error.to_string().contains("has 524287 bytes instead of 524288"),
            "{error}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_range_and_plan_gives_the_layers_bytes(
            len in 0usize..(5 * CHUNK_LEN as usize),
            offset in 0usize..(6 * CHUNK_LEN as usize),
            read in 0usize..(3 * CHUNK_LEN as usize),
            chunks_per_fetch in 1usize..4,
            in_flight in 1usize..4,
            recent in 0usize..3,
        ) {
            let (layer, _, reader) = reader(len, None, recent, FetchPlan { chunks_per_fetch, in_flight });
            assert_eq!(reader.len(), Some(len as u64));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let start = offset.min(len);
                let expected = &layer[start..(start + read).min(len)];
                assert_eq!(reader.read_bytes(offset as u64, read).await.unwrap(), expected);
                let streamed: Vec<Bytes> = Arc::clone(&reader).stream(offset as u64).try_collect().await.unwrap();
                assert!(streamed.iter().all(|piece| !piece.is_empty()));
                assert_eq!(streamed.concat(), layer[start..]);
            });
        }
    }
}

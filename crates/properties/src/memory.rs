//! A layer in memory, for properties that read one.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{ByteStream, LayerReader, Result};
use futures_util::{FutureExt, StreamExt, stream};

/// What `future` comes to without a wait: nothing here reads from anywhere but memory.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("reading memory does not wait")
}

/// A layer in memory.
#[derive(Debug)]
pub(crate) struct Memory(pub(crate) Bytes);

#[async_trait]
impl LayerReader for Memory {
    fn len(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }

    fn random_access(&self) -> bool {
        true
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.0.get(offset..));
        let rest = rest.unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let offset = usize::try_from(offset).map_or(self.0.len(), |offset| offset.min(self.0.len()));
        let rest = self.0.slice(offset..);
        stream::iter((!rest.is_empty()).then_some(Ok(rest))).boxed()
    }
}

//! Writing a layer to a simulated tier.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cache_core::{ByteStream, Digest, Error, LayerIndex, LayerReader, LayerWriter, Result};
use futures_util::{StreamExt, stream};

use super::ledger::Entered;
use super::script::{Step, Trouble, answer};
use super::tier::{SimTier, TierKind};

#[derive(Debug, Default)]
struct Written {
    bytes: BytesMut,
    committed: bool,
}

#[derive(Debug)]
pub(super) struct SimWriter {
    tier: SimTier,
    digest: Digest,
    written: Arc<Mutex<Written>>,
    full_at: Option<u64>,
    broken: bool,
    entered: Entered,
}

impl SimWriter {
    pub(super) fn new(tier: &SimTier, digest: Digest, full_at: Option<u64>) -> Self {
        Self {
            tier: tier.clone(),
            digest,
            written: Arc::default(),
            full_at,
            broken: false,
            entered: tier.inner.writers.enter(digest, &tier.process),
        }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(&self, step: Step) -> Result<Option<Trouble>> {
        let SimTier { inner, process, .. } = &self.tier;
        inner.play.call(step, process).await
    }
}

#[async_trait]
impl LayerWriter for SimWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let place = self.tier.place("write", &self.digest);
        if std::mem::replace(&mut self.broken, true) {
            return Err(place(Error::permanent("a writer that failed was written to")));
        }
        let trouble = self.call(Step::Write).await.map_err(&place)?;
        let len = (self.written().bytes.len() + bytes.len()) as u64;
        if self.full_at.is_some_and(|full_at| len > full_at) {
            return Err(place(Error::unavailable("no space is left")));
        }
        self.written().bytes.extend_from_slice(&bytes);
        self.entered.beat();
        answer(trouble, ()).map_err(place)?;
        self.broken = false;
        Ok(())
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        let partial = Partial {
            tier: self.tier.clone(),
            digest: self.digest,
            written: Arc::clone(&self.written),
        };
        (self.tier.inner.kind == TierKind::Local).then(|| Arc::new(partial) as _)
    }

    async fn commit(self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        let place = self.tier.place("commit", &self.digest);
        let trouble = self.call(Step::Commit).await.map_err(&place)?;
        let bytes = self.written().bytes.clone().freeze();
        let written = index.len() == bytes.len() as u64 && *index.diff_id() == Digest::sha256_of(&bytes);
        if self.broken || !written {
            self.tier.inner.wrong_commits.fetch_add(1, Ordering::Relaxed);
            return Err(place(Error::permanent("a commit of what was not written")));
        }
        self.written().committed = true;
        let synced = trouble != Some(Trouble::Unsynced);
        self.tier.commit(self.digest, bytes.clone(), synced);
        answer(trouble, self.tier.reader(self.digest, &bytes)).map_err(place)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// What is written so far.
#[derive(Debug)]
struct Partial {
    tier: SimTier,
    digest: Digest,
    written: Arc<Mutex<Written>>,
}

impl Partial {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LayerReader for Partial {
    fn len(&self) -> Option<u64> {
        let written = self.written();
        written.committed.then_some(written.bytes.len() as u64)
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let bytes = &self.written().bytes;
        let start = bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        let len = buf.len().min(bytes.len() - start);
        buf[..len].copy_from_slice(&bytes[start..start + len]);
        Ok(len)
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let written = self.written();
        let bytes = if written.committed {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            Ok(written
                .bytes
                .clone()
                .freeze()
                .slice(written.bytes.len().min(start)..))
        } else {
            let error = Error::unavailable("the layer is still being written");
            Err(self.tier.place("read", &self.digest)(error))
        };
        let pieces = (!bytes.as_ref().is_ok_and(Bytes::is_empty)).then_some(bytes);
        stream::iter(pieces).boxed()
    }
}

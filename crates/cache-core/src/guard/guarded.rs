//! The one forwarder of all guards: a source whose every operation goes through a [`Policy`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::policy::{Answer, Answered, Operation, Policy, Repeatable};
use crate::{
    ByteStream, Capabilities, Claim, Digest, Error, LayerDescriptor, LayerIndex, LayerReader, LayerSource,
    LayerStat, LayerWriter, Probe, Result, Role, Tier,
};

/// A source or tier whose operations, and those of the readers and writers it hands out, go through a policy; otherwise
/// it is the same. All guards are of this type.
///
/// A stream or list ends with its first error, and drops what it streams from at once.
#[derive(Debug)]
pub struct Guarded<S, P> {
    inner: S,
    policy: P,
    name: Arc<str>,
    verified: bool,
}

impl<S: LayerSource, P: Policy> Guarded<S, P> {
    /// Puts `inner` under a policy, which may be shared with other sources.
    pub fn with_policy(inner: S, policy: P) -> Self {
        Self {
            name: inner.name().into(),
            verified: inner.capabilities().verified,
            inner,
            policy,
        }
    }

    /// The policy.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    fn ward(&self, layer: Option<&Digest>) -> Ward<P> {
        Ward {
            policy: self.policy.clone(),
            tier: Arc::clone(&self.name),
            layer: layer.copied(),
            verified: self.verified,
        }
    }
}

/// The policy as it applies to one layer, for as long as anything of the layer is open.
#[derive(Clone, Debug)]
struct Ward<P> {
    policy: P,
    tier: Arc<str>,
    layer: Option<Digest>,
    /// Whether streams are [verified](Capabilities::verified) piece by piece.
    verified: bool,
}

impl<P: Policy> Ward<P> {
    async fn run<T: Answer>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let result = self.policy.run(operation, work).await;
        result.map_err(|error| self.place(operation, error))
    }

    async fn repeat<W: Repeatable>(&self, operation: Operation, work: W) -> Result<W::Output> {
        let result = self.policy.repeat(operation, work).await;
        result.map_err(|error| self.place(operation, error))
    }

    fn place(&self, operation: Operation, error: Error) -> Error {
        let error = error.at(&self.tier, operation.name());
        match &self.layer {
            Some(layer) => error.of_layer(layer),
            None => error,
        }
    }

    fn reader(self, inner: Arc<dyn LayerReader>) -> Arc<dyn LayerReader> {
        Arc::new(GuardedReader { inner, ward: self })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: LayerSource, P: Policy> LayerSource for Guarded<S, P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn role(&self) -> Role {
        self.inner.role()
    }

    fn capabilities(&self) -> Capabilities {
        self.policy.capabilities(self.inner.capabilities())
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let ward = self.ward(Some(&layer.digest));
        let open = Open(&self.inner, layer);
        let opened = ward.repeat(Operation::Open, open).await?;
        Ok(opened.map(|inner| ward.reader(inner)))
    }

    /// To the policy a probe opens the layer; but an origin is not asked.
    async fn probe(&self, layer: &LayerDescriptor) -> Result<Probe> {
        if self.role() == Role::Origin {
            return self.inner.probe(layer).await;
        }
        let ward = self.ward(Some(&layer.digest));
        let look = Look(&self.inner, layer);
        Ok(match ward.repeat(Operation::Open, look).await? {
            Probe::Present(inner) => Probe::Present(ward.reader(inner)),
            other => other,
        })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: Tier, P: Policy> Tier for Guarded<T, P> {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        let ward = self.ward(Some(&layer.digest));
        let create = self.inner.create(layer);
        Ok(match ward.run(Operation::Create, create).await? {
            Claim::Write(inner) => Claim::Write(Box::new(GuardedWriter { inner, ward })),
            Claim::Exists(inner) => Claim::Exists(ward.reader(inner)),
        })
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        let remove = Remove(&self.inner, digest);
        self.ward(Some(digest)).repeat(Operation::Remove, remove).await
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        let state = (self.ward(None), self.inner.list());
        stream::try_unfold(state, |(ward, mut inner)| async move {
            let stat = ward.run(Operation::List, inner.try_next()).await?;
            Ok(stat.map(|stat| (stat, (ward, inner))))
        })
        .boxed()
    }
}

#[derive(Debug)]
struct GuardedReader<P> {
    inner: Arc<dyn LayerReader>,
    ward: Ward<P>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<P: Policy> LayerReader for GuardedReader<P> {
    fn len(&self) -> Option<u64> {
        self.inner.len()
    }

    fn random_access(&self) -> bool {
        self.inner.random_access()
    }

    fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let read = ReadAt(&*self.inner, offset, buf);
        self.ward.repeat(Operation::Read, read).await
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let ward = self.ward.clone();
        let pieces = Pieces {
            bytes: Some(Arc::clone(&self.inner).stream(offset)),
            reader: Arc::clone(&self.inner),
            verified: ward.verified,
            started: offset,
            reached: offset,
        };
        stream::try_unfold((ward, pieces), |(ward, mut pieces)| async move {
            let piece = ward.repeat(Operation::Stream, NextPiece(&mut pieces)).await?;
            Ok(piece.map(|piece| (piece, (ward, pieces))))
        })
        .boxed()
    }
}

#[derive(Debug)]
struct GuardedWriter<P> {
    inner: Box<dyn LayerWriter>,
    ward: Ward<P>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<P: Policy> LayerWriter for GuardedWriter<P> {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let write = self.inner.write(bytes);
        self.ward.run(Operation::Write, write).await
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        let partial = self.inner.partial();
        partial.map(|inner| self.ward.clone().reader(inner))
    }

    async fn commit(self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        let Self { inner, ward } = *self;
        let commit = async {
            let reader = inner.commit(index).await?;
            let len = index.len();
            Ok(Committed { reader, len })
        };
        let committed = ward.run(Operation::Commit, commit).await?;
        Ok(ward.reader(committed.reader))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let Self { inner, ward } = *self;
        ward.run(Operation::Abort, inner.abort()).await
    }
}

/// A layer that was committed, and its length in bytes.
struct Committed {
    reader: Arc<dyn LayerReader>,
    len: u64,
}

impl Answer for Committed {
    fn answered(&self) -> Answered {
        Answered::Committed(self.len)
    }
}

struct Open<'a, S>(&'a S, &'a LayerDescriptor);

impl<S: LayerSource> Repeatable for Open<'_, S> {
    type Output = Option<Arc<dyn LayerReader>>;

    fn run(&mut self) -> impl Future<Output = Result<Self::Output>> + Send {
        self.0.open(self.1)
    }

    fn can_repeat(&self) -> bool {
        true
    }
}

struct Look<'a, S>(&'a S, &'a LayerDescriptor);

impl<S: LayerSource> Repeatable for Look<'_, S> {
    type Output = Probe;

    fn run(&mut self) -> impl Future<Output = Result<Probe>> + Send {
        self.0.probe(self.1)
    }

    fn can_repeat(&self) -> bool {
        true
    }
}

struct Remove<'a, T>(&'a T, &'a Digest);

impl<T: Tier> Repeatable for Remove<'_, T> {
    type Output = bool;

    fn run(&mut self) -> impl Future<Output = Result<bool>> + Send {
        self.0.remove(self.1)
    }

    fn can_repeat(&self) -> bool {
        true
    }
}

struct ReadAt<'a>(&'a dyn LayerReader, u64, &'a mut [u8]);

impl Repeatable for ReadAt<'_> {
    type Output = usize;

    fn run(&mut self) -> impl Future<Output = Result<usize>> + Send {
        self.0.read_at(self.1, self.2)
    }

    fn can_repeat(&self) -> bool {
        true
    }
}

/// A stream that has handed out the bytes from `started` to `reached`.
struct Pieces {
    reader: Arc<dyn LayerReader>,
    /// `None` after an error, until it goes on.
    bytes: Option<ByteStream>,
    verified: bool,
    started: u64,
    reached: u64,
}

/// The next piece of a stream, which goes on where it was cut.
struct NextPiece<'a>(&'a mut Pieces);

impl Repeatable for NextPiece<'_> {
    type Output = Option<Bytes>;

    async fn run(&mut self) -> Result<Option<Bytes>> {
        let Pieces {
            reader,
            bytes,
            reached,
            ..
        } = &mut *self.0;
        let stream = bytes.get_or_insert_with(|| Arc::clone(reader).stream(*reached));
        let next = stream.try_next().await;
        match &next {
            Ok(piece) => *reached += piece.as_ref().map_or(0, |piece| piece.len() as u64),
            // Gone before a pause, as it may hold on to something.
            Err(_) => *bytes = None,
        }
        next
    }

    /// Where nothing is verified before the end, only a new stream from the beginning would prove the bytes that were
    /// handed out: that is too late after the first piece.
    fn can_repeat(&self) -> bool {
        let Pieces {
            verified,
            started,
            reached,
            ..
        } = *self.0;
        verified || reached == started
    }
}

//! A multipart upload: parts on their way, and nothing left of them when it is given up.

use std::fmt;
use std::sync::Arc;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use cache_core::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bucket::Bucket;
use crate::client::Patience;
use crate::failure::failure;

/// Length of every part but the last: some servers want equal ones. The memory of a tier that is written to is a
/// multiple of it, and the most parts an upload may have make up the longest layer.
pub(crate) const PART_LEN: usize = 7 << 20;
const MAX_PARTS: u64 = 10_000;

/// The longest layer that can be written.
pub(crate) const MAX_LAYER_BYTES: u64 = MAX_PARTS * PART_LEN as u64;

/// Parts in memory of one tier, for all its writers: one that is gathered, and two on their way.
const PART_BUFFERS: usize = 3;

/// A writer waits no longer than this many time-outs for a buffer: as long as the others take for theirs.
const MAX_TIMEOUTS: u32 = 12;

/// Counts the part buffers of a tier.
#[derive(Debug)]
pub(crate) struct PartBuffers(Arc<Semaphore>);

impl PartBuffers {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(PART_BUFFERS)))
    }

    /// Waits for a buffer that no other writer needs. Who waits holds none: writers cannot block each other for ever.
    pub(crate) async fn acquire(&self, bucket: &Bucket) -> Result<PartBuffer> {
        let permit = timeout(
            bucket.config.timeout * MAX_TIMEOUTS,
            Arc::clone(&self.0).acquire_owned(),
        );
        match permit.await {
            Ok(Ok(permit)) => Ok(PartBuffer {
                bytes: BytesMut::with_capacity(PART_LEN),
                permit,
            }),
            _ => Err(Error::unavailable(
                "other layers that are written take up all buffers",
            )),
        }
    }
}

/// One part while it is gathered.
pub(crate) struct PartBuffer {
    bytes: BytesMut,
    permit: OwnedSemaphorePermit,
}

impl PartBuffer {
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() == PART_LEN
    }

    /// Takes what fits off the front of `bytes`.
    pub(crate) fn take_from(&mut self, bytes: &mut Bytes) {
        let fits = bytes.len().min(PART_LEN - self.bytes.len());
        self.bytes.extend_from_slice(&bytes.split_to(fits));
    }

    /// The part, and what has to live as long as its bytes do.
    pub(crate) fn freeze(self) -> (Bytes, OwnedSemaphorePermit) {
        (self.bytes.freeze(), self.permit)
    }
}

impl fmt::Debug for PartBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartBuffer")
            .field("len", &self.bytes.len())
            .finish()
    }
}

/// An upload under way. Dropping it gives it up in the background.
#[derive(Debug)]
pub(crate) struct Upload(Option<Open>);

/// What the server keeps, and bills, until it is completed or aborted.
#[derive(Debug)]
struct Open {
    bucket: Arc<Bucket>,
    key: String,
    id: String,
    count: i32,
    sending: JoinSet<Result<CompletedPart>>,
    sent: Vec<CompletedPart>,
}

impl Upload {
    /// Begins an upload, in a task: the upload of a caller that goes away meanwhile is given up once the server has
    /// told its ID.
    pub(crate) async fn begin(bucket: Arc<Bucket>, key: String) -> Result<Self> {
        let begun = tokio::spawn(async move {
            let client = bucket.client().await?;
            let request = client
                .create_multipart_upload()
                .bucket(bucket.bucket_name())
                .key(&key);
            let begun = request.send().await;
            let begun = begun.map_err(|error| failure("begin an upload", &error))?;
            let id = begun.upload_id;
            let id = id.ok_or_else(|| Error::unavailable("the server does not tell the ID of an upload"))?;
            Ok(Self(Some(Open {
                bucket,
                key,
                id,
                count: 0,
                sending: JoinSet::new(),
                sent: Vec::new(),
            })))
        });
        begun.await.unwrap_or_else(|error| Err(unfinished(error)))
    }

    /// Sends the next part while the caller goes on.
    ///
    /// # Errors
    /// Those of parts that were sent earlier.
    pub(crate) fn send(&mut self, part: PartBuffer) -> Result<()> {
        let open = self.open()?;
        open.count += 1;
        let (bytes, permit) = part.freeze();
        let sent = send(
            Arc::clone(&open.bucket),
            open.key.clone(),
            open.id.clone(),
            open.count,
            bytes,
        );
        open.sending.spawn(async move {
            let _permit = permit;
            sent.await
        });
        while let Some(sent) = open.sending.try_join_next() {
            open.sent
                .push(sent.unwrap_or_else(|error| Err(unfinished(error)))?);
        }
        Ok(())
    }

    /// Makes the parts one object.
    pub(crate) async fn complete(mut self) -> Result<()> {
        let open = self.open()?;
        while let Some(sent) = open.sending.join_next().await {
            open.sent
                .push(sent.unwrap_or_else(|error| Err(unfinished(error)))?);
        }
        open.sent.sort_unstable_by_key(CompletedPart::part_number);
        let parts = std::mem::take(&mut open.sent);
        let client = open.bucket.client().await?;
        let request = client
            .complete_multipart_upload()
            .bucket(open.bucket.bucket_name());
        request
            .key(&open.key)
            .upload_id(&open.id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .customize()
            .config_override(Patience::Complete.settings(open.bucket.config.timeout))
            .send()
            .await
            .map_err(|error| failure("complete an upload", &error))?;
        self.0 = None;
        Ok(())
    }

    /// Gives it up, in a task that ends even if the caller goes away; returns when nothing is left.
    pub(crate) async fn abort(mut self) -> Result<()> {
        let Some(open) = self.0.take() else { return Ok(()) };
        tokio::spawn(open.abort())
            .await
            .unwrap_or_else(|error| Err(unfinished(error)))
    }

    fn open(&mut self) -> Result<&mut Open> {
        self.0
            .as_mut()
            .ok_or_else(|| Error::unavailable("the upload has ended"))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Without a runtime, as when the process ends, it is left to the sweep of a later one.
        if let (Some(open), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                if let Err(error) = open.abort().await {
                    tracing::warn!(%error, "could not abort an upload, which is left to a later sweep");
                }
            });
        }
    }
}

impl Open {
    /// A part that arrives after the upload was aborted would stay: all of them end first.
    async fn abort(mut self) -> Result<()> {
        self.sending.shutdown().await;
        abort(&self.bucket, &self.key, &self.id).await
    }
}

async fn send(
    bucket: Arc<Bucket>,
    key: String,
    id: String,
    number: i32,
    bytes: Bytes,
) -> Result<CompletedPart> {
    let client = bucket.client().await?;
    let request = client
        .upload_part()
        .bucket(bucket.bucket_name())
        .key(key)
        .upload_id(id);
    let sent = request
        .part_number(number)
        .content_length(bytes.len() as i64)
        .body(bytes.into())
        .customize()
        .config_override(Patience::Part.settings(bucket.config.timeout))
        .send()
        .await
        .map_err(|error| failure("upload a part", &error))?;
    Ok(CompletedPart::builder()
        .part_number(number)
        .set_e_tag(sent.e_tag)
        .build())
}

/// Gives up the upload `id`, which may be gone already.
pub(crate) async fn abort(bucket: &Bucket, key: &str, id: &str) -> Result<()> {
    let client = bucket.client().await?;
    let request = client.abort_multipart_upload().bucket(bucket.bucket_name());
    match request.key(key).upload_id(id).send().await {
        Ok(_) => Ok(()),
        Err(error)
            if error.as_service_error().is_some_and(
                aws_sdk_s3::operation::abort_multipart_upload::AbortMultipartUploadError::is_no_such_upload,
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(failure("abort an upload", &error)),
    }
}

/// A task that panicked, or whose runtime ends.
pub(crate) fn unfinished(error: tokio::task::JoinError) -> Error {
    Error::unavailable("the work was not finished").caused_by(error)
}

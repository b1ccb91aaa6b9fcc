//! A multipart upload: parts on their way, and nothing left of them when it is given up.

use std::sync::Arc;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use cache_core::{Error, Result};
use tokio::task::{JoinError, JoinSet};

use crate::bucket::Bucket;
use crate::buffers::{PART_LEN, PartBuffer};
use crate::client::Deadline;
use crate::failure::{Refusal, failure, refusal};

/// What S3 allows.
const MAX_PARTS: u64 = 10_000;

/// The longest layer that can be written.
pub(crate) const MAX_LAYER_BYTES: u64 = MAX_PARTS * PART_LEN as u64;

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
    sending: JoinSet<Result<Option<CompletedPart>>>,
    sent: Vec<CompletedPart>,
    /// Garage drops the uploads of an object when another writer has completed his.
    gone: bool,
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
                gone: false,
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
        let sent = send(
            Arc::clone(&open.bucket),
            open.key.clone(),
            open.id.clone(),
            open.count,
            part.freeze(),
        );
        open.sending.spawn(sent);
        while let Some(sent) = open.sending.try_join_next() {
            open.note(sent)?;
        }
        Ok(())
    }

    /// Makes the parts one object. If the upload is gone, another writer's object has taken its place, or none: the caller
    /// looks at what is there in any case.
    pub(crate) async fn complete(mut self) -> Result<()> {
        let open = self.open()?;
        while let Some(sent) = open.sending.join_next().await {
            open.note(sent)?;
        }
        if open.gone {
            self.0 = None;
            return Ok(());
        }
        open.sent.sort_unstable_by_key(CompletedPart::part_number);
        let parts = std::mem::take(&mut open.sent);
        let client = open.bucket.client().await?;
        let request = client
            .complete_multipart_upload()
            .bucket(open.bucket.bucket_name());
        let completed = request
            .key(&open.key)
            .upload_id(&open.id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .customize()
            .config_override(Deadline::Complete.settings(open.bucket.config.timeout))
            .send()
            .await;
        match completed {
            Err(error) if refusal(&error) != Refusal::NoUpload => Err(failure("complete an upload", &error)),
            _ => {
                self.0 = None;
                Ok(())
            }
        }
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
    fn note(&mut self, sent: Result<Result<Option<CompletedPart>>, JoinError>) -> Result<()> {
        match sent.unwrap_or_else(|error| Err(unfinished(error)))? {
            Some(part) => self.sent.push(part),
            None => self.gone = true,
        }
        Ok(())
    }

    /// A part that arrives after the upload was aborted would stay: all of them end first.
    async fn abort(mut self) -> Result<()> {
        self.sending.shutdown().await;
        abort(&self.bucket, &self.key, &self.id).await
    }
}

/// `None` when the upload is gone.
async fn send(
    bucket: Arc<Bucket>,
    key: String,
    id: String,
    number: i32,
    bytes: Bytes,
) -> Result<Option<CompletedPart>> {
    let client = bucket.client().await?;
    let request = client.upload_part().bucket(bucket.bucket_name()).key(key);
    let request = request
        .upload_id(id)
        .part_number(number)
        .content_length(bytes.len() as i64)
        .body(bytes.into())
        .customize()
        .config_override(Deadline::Part.settings(bucket.config.timeout));
    let request = if bucket.config.payload_signing() {
        request
    } else {
        // Takes both ends as long as it took to prove the layer.
        request.disable_payload_signing()
    };
    match request.send().await {
        Ok(sent) => {
            let part = CompletedPart::builder().part_number(number);
            Ok(Some(part.set_e_tag(sent.e_tag).build()))
        }
        Err(error) if refusal(&error) == Refusal::NoUpload => Ok(None),
        Err(error) => Err(failure("upload a part", &error)),
    }
}

/// Gives up the upload `id`, which may be gone already.
pub(crate) async fn abort(bucket: &Bucket, key: &str, id: &str) -> Result<()> {
    let client = bucket.client().await?;
    let request = client.abort_multipart_upload().bucket(bucket.bucket_name());
    match request.key(key).upload_id(id).send().await {
        Ok(_) => Ok(()),
        Err(error) if refusal(&error) == Refusal::NoUpload => Ok(()),
        Err(error) => Err(failure("abort an upload", &error)),
    }
}

/// A task that panicked, or whose runtime ends.
pub(crate) fn unfinished(error: JoinError) -> Error {
    Error::unavailable("the runtime is shutting down, or a task of the tier panicked").caused_by(error)
}

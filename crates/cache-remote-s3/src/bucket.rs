//! The requests that the tier makes, and what their answers mean. Each is bounded in time and tried again by the SDK, up to the
//! head of its answer.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use cache_core::{Error, LayerIndex, Result};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::client::{Deadline, connect};
use crate::failure::{Refusal, failure, refusal, status};
use crate::{S3Config, keys::Keys};

/// How often the index is asked for when its answers are cut.
const INDEX_ATTEMPTS: usize = 3;
/// All of these attempts last no longer than this many time-outs.
const INDEX_TIMEOUTS: u32 = 4;

/// The bucket of a tier. The client is made for the first request.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) config: S3Config,
    pub(crate) keys: Keys,
    client: OnceCell<Client>,
}

/// An object as HEAD describes it.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) len: u64,
    /// Not every server has them.
    pub(crate) etag: Option<String>,
}

/// The body of an answer to a range.
pub(crate) struct Part {
    /// `bytes <first>-<last>/<length>`, if the answer is a range.
    pub(crate) range: Option<String>,
    pub(crate) body: ByteStream,
}

impl Bucket {
    pub(crate) fn new(config: S3Config) -> Self {
        Self {
            keys: Keys::new(&config.prefix),
            config,
            client: OnceCell::new(),
        }
    }

    pub(crate) async fn client(&self) -> Result<&Client> {
        self.client.get_or_try_init(|| connect(&self.config)).await
    }

    pub(crate) fn bucket_name(&self) -> &str {
        &self.config.bucket
    }

    /// A HEAD request's refusal has no text: what is wrong is said by the answer to a list.
    pub(crate) async fn check(&self) -> Result<()> {
        let client = self.client().await?;
        match client.head_bucket().bucket(self.bucket_name()).send().await {
            Ok(_) => return Ok(()),
            Err(error) if status(&error).is_none() => return Err(failure("look at the bucket", &error)),
            Err(_) => {}
        }
        let list = client.list_objects_v2().bucket(self.bucket_name());
        let listed = list.prefix(self.keys.all()).max_keys(1).send().await;
        listed
            .map(drop)
            .map_err(|error| failure("look at the bucket", &error))
    }

    /// The object under `key`; `None` where there is none, or no bucket: HEAD does not tell which.
    pub(crate) async fn head(&self, key: &str) -> Result<Option<Object>> {
        let request = self
            .client()
            .await?
            .head_object()
            .bucket(self.bucket_name())
            .key(key);
        let found = match request.send().await {
            Ok(found) => found,
            Err(error) if status(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(failure("look for the layer", &error)),
        };
        let len = found.content_length.and_then(|len| u64::try_from(len).ok());
        Ok(Some(Object {
            len: len.ok_or_else(|| Error::unavailable("the server does not tell the length of the layer"))?,
            etag: found.e_tag,
        }))
    }

    /// The encoded index under `key`, of bounded length.
    pub(crate) async fn index(&self, key: &str) -> Result<Option<Bytes>> {
        let cut = || Error::unavailable("the layer's index was cut on the way, or comes too slowly");
        let read = async {
            for _ in 0..INDEX_ATTEMPTS {
                let request = self.client().await?.get_object().bucket(self.bucket_name());
                let answer = match request.key(key).send().await {
                    Ok(answer) => answer,
                    Err(error) if refusal(&error) == Refusal::NoKey => return Ok(None),
                    Err(error) => return Err(failure("get the layer's index", &error)),
                };
                let len = answer.content_length.and_then(|len| u64::try_from(len).ok());
                // The SDK's retries end with the head of an answer.
                if let Some(index) = self.read_index(len, answer.body).await? {
                    return Ok(Some(index));
                }
            }
            Err(cut())
        };
        // A body that drips keeps to the time-out of each piece.
        let read = timeout(self.config.timeout * INDEX_TIMEOUTS, read).await;
        read.unwrap_or_else(|_| Err(cut()))
    }

    /// `None` when it was cut.
    async fn read_index(&self, told: Option<u64>, mut body: ByteStream) -> Result<Option<Bytes>> {
        let max = LayerIndex::encoded_len(self.config.max_layer_bytes);
        let too_long = || Error::corrupt("the layer's index is longer than that of the longest layer");
        if told.is_some_and(|len| len > max) {
            return Err(too_long());
        }
        let mut index = BytesMut::new();
        loop {
            match timeout(self.config.timeout, body.next()).await {
                Ok(Some(Ok(piece))) if (index.len() + piece.len()) as u64 > max => return Err(too_long()),
                Ok(Some(Ok(piece))) => index.extend_from_slice(&piece),
                Ok(None) if told.is_none_or(|len| len == index.len() as u64) => {
                    return Ok(Some(index.freeze()));
                }
                Ok(Some(Err(_)) | None) | Err(_) => return Ok(None),
            }
        }
    }

    /// Asks for the bytes from `first` to `last`, both included, of the object that had `etag`.
    pub(crate) async fn range(&self, key: &str, etag: Option<&str>, first: u64, last: u64) -> Result<Part> {
        let request = self
            .client()
            .await?
            .get_object()
            .bucket(self.bucket_name())
            .key(key);
        let answer = request
            .range(format!("bytes={first}-{last}"))
            .set_if_match(etag.map(Into::into))
            .send()
            .await
            .map_err(|error| match refusal(&error) {
                Refusal::NoKey | Refusal::Replaced => {
                    Error::unavailable("the layer was replaced or removed since it was opened")
                }
                Refusal::NoUpload | Refusal::Other => failure("read the layer", &error),
            })?;
        Ok(Part {
            range: answer.content_range,
            body: answer.body,
        })
    }

    /// Signed with its bytes: a server must refuse an index that was changed on its way, since nothing else vouches for it.
    pub(crate) async fn put(&self, key: &str, body: Bytes) -> Result<()> {
        let deadline = Deadline::Part.settings(self.config.timeout);
        let request = self
            .client()
            .await?
            .put_object()
            .bucket(self.bucket_name())
            .key(key);
        request
            .content_length(body.len() as i64)
            .body(body.into())
            .customize()
            .config_override(deadline)
            .send()
            .await
            .map(drop)
            .map_err(|error| failure("put an object", &error))
    }

    /// Whether it is gone does not depend on whether it was there.
    pub(crate) async fn delete(&self, key: &str) -> Result<()> {
        let request = self
            .client()
            .await?
            .delete_object()
            .bucket(self.bucket_name())
            .key(key);
        match request.send().await {
            Ok(_) => Ok(()),
            // Amazon answers 204; others say what they have not found.
            Err(error) if refusal(&error) == Refusal::NoKey => Ok(()),
            Err(error) => Err(failure("remove the layer", &error)),
        }
    }
}

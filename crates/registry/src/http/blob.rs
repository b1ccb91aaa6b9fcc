//! A blob of a registry, received over as many connections as it takes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cache_core::{BlobReader, ByteStream, Digest, Error, ErrorKind, Result};
use futures_util::{StreamExt, stream};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use tokio::sync::OwnedSemaphorePermit;

use super::body::Body;
use super::content_range::ContentRange;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::retry::delay;
use super::transport::Transport;

/// How long the answer that showed that the blob is there waits for its reader.
const PARKED: Duration = Duration::from_secs(5);

/// A blob that a registry was found to have.
#[derive(Debug)]
pub(super) struct RegistryBlob {
    transport: Arc<Transport>,
    endpoints: Vec<Endpoint>,
    /// Which of the endpoints had it.
    found_at: usize,
    digest: Digest,
    /// Its length in bytes, from the manifest.
    size: Option<u64>,
    /// The answer that showed that it is there, for the first stream. A std mutex: it is only taken from.
    parked: Mutex<Option<Body>>,
}

impl RegistryBlob {
    /// Asks one endpoint for the blob; `None` where it does not have it.
    pub(super) async fn request(
        transport: &Transport,
        endpoint: &Endpoint,
        digest: &Digest,
        size: Option<u64>,
    ) -> Result<Option<Body>, Failure> {
        let _permit = transport.permit(endpoint).await?;
        let url = endpoint.url("blobs", &digest.to_string());
        let response = transport.get(endpoint, &url, &HeaderMap::new()).await?;
        match response.status() {
            StatusCode::OK => {
                let body = transport.body(response, endpoint.host());
                check_len(&body, size, endpoint)?;
                Ok(Some(body))
            }
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(Failure::of_status(status, response.headers(), endpoint.host())),
        }
    }

    /// The blob whose presence `answer`, of endpoint number `found_at`, has shown.
    pub(super) fn new(
        transport: Arc<Transport>,
        endpoints: Vec<Endpoint>,
        (found_at, answer): (usize, Body),
        digest: Digest,
        size: Option<u64>,
    ) -> Arc<Self> {
        let parked = Mutex::new(Some(answer));
        let blob = Arc::new(Self {
            transport,
            endpoints,
            found_at,
            digest,
            size,
            parked,
        });
        // A reader that is opened and then not read must not keep a connection. It takes no place in the queue either, or a
        // few such readers would lock everybody out.
        let weak = Arc::downgrade(&blob);
        tokio::spawn(async move {
            tokio::time::sleep(PARKED).await;
            if let Some(blob) = weak.upgrade() {
                drop(blob.take_parked());
            }
        });
        blob
    }

    fn take_parked(&self) -> Option<Body> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl BlobReader for RegistryBlob {
    fn stream(self: Arc<Self>) -> ByteStream {
        let transfer = Transfer::new(self);
        stream::unfold(Some(transfer), |transfer| async {
            let mut transfer = transfer?;
            match transfer.next().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(transfer))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }
}

/// One passage through the blob.
struct Transfer {
    blob: Arc<RegistryBlob>,
    /// The length of the blob in bytes, from the manifest or else from the registry.
    size: Option<u64>,
    endpoint: usize,
    permit: Option<OwnedSemaphorePermit>,
    body: Option<Body>,
    /// How many bytes were handed out.
    delivered: u64,
    /// How many bytes of the current body were handed out already, from an earlier one.
    skip: u64,
    /// Whether ranges turned out not to work, so that a new body starts at the first byte.
    no_ranges: bool,
    /// Interruptions since the last new byte.
    fruitless: u32,
    interruptions: u32,
}

impl Transfer {
    fn new(blob: Arc<RegistryBlob>) -> Self {
        Self {
            size: blob.size,
            endpoint: blob.found_at,
            blob,
            permit: None,
            body: None,
            delivered: 0,
            skip: 0,
            no_ranges: false,
            fruitless: 0,
            interruptions: 0,
        }
    }

    /// The next new bytes. Cancelling it loses none that were handed out; the transfer is then only good for dropping.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.receive().await {
                Ok(Some(piece)) => {
                    self.fruitless = 0;
                    self.delivered += piece.len() as u64;
                    return Ok(Some(piece));
                }
                Ok(None) => return Ok(None),
                // All are there: how the connection ends is of no interest.
                Err(failure) if failure.is_transient() && self.size == Some(self.delivered) => {
                    return Ok(None);
                }
                Err(failure) => self.recover(failure).await?,
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let body = match &mut self.body {
                Some(body) => body,
                None => {
                    let body = self.connect().await?;
                    self.body.insert(body)
                }
            };
            let Some(mut piece) = body.next().await? else {
                return match self.size {
                    Some(size) if self.delivered < size => Err(self.cut_short(size)),
                    _ if self.skip > 0 => Err(self.cut_short(self.delivered)),
                    _ => Ok(None),
                };
            };
            let known = self.skip.min(piece.len() as u64);
            self.skip -= known;
            let piece = piece.split_off(known as usize);
            if self
                .size
                .is_some_and(|size| self.delivered + piece.len() as u64 > size)
            {
                let message = format!(
                    "{} sends more than the {} bytes of the blob",
                    self.host(),
                    self.delivered
                );
                return Err(Error::corrupt(message).into());
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// A body that goes on where the last one ended, or one from the start and how much of it to skip.
    async fn connect(&mut self) -> Result<Body, Failure> {
        let blob = Arc::clone(&self.blob);
        let endpoint = &blob.endpoints[self.endpoint];
        if self.permit.is_none() {
            self.permit = Some(blob.transport.permit(endpoint).await?);
        }
        if self.interruptions == 0
            && let Some(parked) = blob.take_parked()
        {
            self.size = self.size.or(parked.announced_len());
            return Ok(parked);
        }
        let mut headers = HeaderMap::new();
        let rest = self.size.filter(|_| self.delivered > 0 && !self.no_ranges);
        if let Some(size) = rest {
            // Closed, because some registries answer 416 to an open one.
            let range = format!("bytes={}-{}", self.delivered, size - 1);
            headers.insert(
                RANGE,
                HeaderValue::try_from(range).map_err(|_| Error::unavailable("no range"))?,
            );
        }
        let url = endpoint.url("blobs", &blob.digest.to_string());
        let response = blob.transport.get(endpoint, &url, &headers).await?;
        match (response.status(), rest) {
            (StatusCode::OK, _) => {
                let body = blob.transport.body(response, endpoint.host());
                check_len(&body, self.size, endpoint)?;
                self.size = self.size.or(body.announced_len());
                self.skip = self.delivered;
                Ok(body)
            }
            (StatusCode::PARTIAL_CONTENT, Some(size)) => {
                let range = response
                    .headers()
                    .get(CONTENT_RANGE)
                    .and_then(|range| range.to_str().ok());
                if !range
                    .and_then(ContentRange::parse)
                    .is_some_and(|range| range.is_rest_of(self.delivered, size))
                {
                    self.no_ranges = true;
                    let message = format!(
                        "{} answered with another range than it was asked for",
                        endpoint.host()
                    );
                    return Err(Error::unavailable(message).into());
                }
                self.skip = 0;
                Ok(blob.transport.body(response, endpoint.host()))
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => {
                self.no_ranges = true;
                Err(Error::unavailable(format!("{} refused a range", endpoint.host())).into())
            }
            (StatusCode::NOT_FOUND, _) => {
                Err(Error::unavailable(format!("{} does not have the blob any more", endpoint.host())).into())
            }
            (status, _) => Err(Failure::of_status(status, response.headers(), endpoint.host())),
        }
    }

    /// Waits before the next attempt, at the next endpoint; or gives the blob up.
    async fn recover(&mut self, failure: Failure) -> Result<()> {
        self.body = None;
        let Failure { error, retry_after } = failure;
        let endpoints = self.blob.endpoints.len();
        let elsewhere = error.kind() == ErrorKind::Permanent && endpoints > 1;
        if error.kind() != ErrorKind::Unavailable && !elsewhere {
            return Err(error);
        }
        self.fruitless += 1;
        self.interruptions += 1;
        let config = &self.blob.transport.config;
        if self.fruitless > config.max_retries || self.interruptions > config.max_resumes {
            let delivered = self.delivered;
            let message = format!(
                "gave up at byte {delivered} after {} interruptions: {error}",
                self.interruptions
            );
            return Err(Error::unavailable(message).caused_by(error));
        }
        tracing::warn!(
            host = self.host(),
            digest = %self.blob.digest,
            offset = self.delivered,
            attempt = self.fruitless,
            %error,
            "blob interrupted, going on"
        );
        let wait = delay(config, self.fruitless - 1, retry_after);
        if endpoints > 1 {
            self.endpoint = (self.endpoint + 1) % endpoints;
            self.permit = None;
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn cut_short(&self, expected: u64) -> Failure {
        let Self { delivered, skip, .. } = self;
        let at = delivered - skip;
        Error::unavailable(format!(
            "{} ended the blob at byte {at} of {expected}",
            self.host()
        ))
        .into()
    }

    fn host(&self) -> &str {
        self.blob.endpoints[self.endpoint].host()
    }
}

/// A registry that announces another length than the manifest does has another blob.
fn check_len(body: &Body, size: Option<u64>, endpoint: &Endpoint) -> Result<()> {
    match (body.announced_len(), size) {
        (Some(announced), Some(size)) if announced != size => Err(Error::corrupt(format!(
            "{} has a blob of {announced} bytes instead of {size}",
            endpoint.host()
        ))),
        _ => Ok(()),
    }
}

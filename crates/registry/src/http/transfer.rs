//! One passage through a blob, over as many connections as it takes.

use std::sync::Arc;

use bytes::Bytes;
use cache_core::{Error, ErrorKind, Result};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use tokio::sync::OwnedSemaphorePermit;

use super::blob::{RegistryBlob, check_len};
use super::body::Body;
use super::content_range::ContentRange;
use super::endpoint::Resource;
use super::failure::{Failure, chain};
use super::retry::delay;

/// The state of one passage from the first byte to the last.
pub(super) struct Transfer {
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
    pub(super) fn new(blob: Arc<RegistryBlob>) -> Self {
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
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
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
            let end = self.delivered + piece.len() as u64;
            if let Some(size) = self.size.filter(|size| end > *size) {
                let message = format!("{} sends more than the {size} bytes of the blob", self.host());
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
                HeaderValue::try_from(range)
                    .map_err(|_| Error::unavailable("the range to go on with is no header"))?,
            );
        }
        let url = endpoint.url(Resource::Blob, &blob.digest.to_string());
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
                "gave up at byte {delivered} after {} interruptions",
                self.interruptions
            );
            return Err(Error::unavailable(message).caused_by(error));
        }
        tracing::info!(
            host = self.host(),
            digest = %self.blob.digest,
            offset = self.delivered,
            attempt = self.fruitless,
            error = chain(&error),
            "blob interrupted, going on"
        );
        self.blob.transport.stats.count_repeated_read();
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

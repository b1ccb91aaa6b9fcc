//! One passage through a blob or a part of it, over as many connections as it takes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cache_core::inflate::{BlobReader, check_range};
use cache_core::{ByteStream, Error, ErrorKind, Result};
use futures_util::{StreamExt, stream};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use tokio::sync::OwnedSemaphorePermit;

use super::blob::{RegistryBlob, check_len};
use super::body::Body;
use super::content_range::ContentRange;
use super::endpoint::Resource;
use super::failure::{Failure, chain};
use super::retry::delay;

/// The state of one passage from the first byte that is wanted to the last.
pub(super) struct Transfer {
    blob: Arc<RegistryBlob>,
    /// The part of the blob that is wanted; `None` for all of it.
    part: Option<Range<u64>>,
    /// The length of the blob in bytes, from the manifest or else from the registry.
    size: Option<u64>,
    endpoint: usize,
    permit: Option<OwnedSemaphorePermit>,
    body: Option<Body>,
    /// Where the next byte is in the blob: those before were handed out, or are not wanted.
    offset: u64,
    /// How many bytes of the current body were handed out already, from an earlier one.
    skip: u64,
    /// Whether ranges turned out not to work. A new body starts at the first byte then; a part is not to be had here.
    no_ranges: bool,
    /// How many endpoints have no ranges.
    without_ranges: usize,
    /// Interruptions since the last new byte.
    fruitless: u32,
    interruptions: u32,
}

impl Transfer {
    /// A passage through all of the blob.
    pub(super) fn new(blob: Arc<RegistryBlob>) -> Self {
        Self {
            size: blob.size,
            endpoint: blob.found_at,
            blob,
            part: None,
            permit: None,
            body: None,
            offset: 0,
            skip: 0,
            no_ranges: false,
            without_ranges: 0,
            fruitless: 0,
            interruptions: 0,
        }
    }

    /// Fetches a part of the blob, which is not empty; `None` when no endpoint serves parts.
    pub(super) async fn fetch(blob: Arc<RegistryBlob>, part: Range<u64>) -> Result<Option<Bytes>> {
        let len = usize::try_from(part.end - part.start)
            .map_err(|_| Error::invalid("the range does not fit into memory"))?;
        let mut transfer = Self {
            offset: part.start,
            part: Some(part),
            ..Self::new(blob)
        };
        let mut fetched = BytesMut::with_capacity(len);
        while fetched.len() < len {
            match transfer.next().await {
                Ok(Some(piece)) => fetched.extend_from_slice(&piece),
                Ok(None) => return Err(transfer.cut_short(transfer.end().unwrap_or_default()).error),
                Err(_) if transfer.no_ranges => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(fetched.freeze()))
    }

    /// Where the last wanted byte ends, if that is known.
    fn end(&self) -> Option<u64> {
        self.part.as_ref().map(|part| part.end).or(self.size)
    }

    /// The next new bytes. Cancelling it loses none that were handed out; the transfer is then only good for dropping.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.receive().await {
                Ok(Some(piece)) => {
                    self.fruitless = 0;
                    self.offset += piece.len() as u64;
                    return Ok(Some(piece));
                }
                Ok(None) => return Ok(None),
                // All are there: how the connection ends is of no interest.
                Err(failure) if failure.is_transient() && self.end() == Some(self.offset) => {
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
                return match self.end() {
                    Some(end) if self.offset < end => Err(self.cut_short(end)),
                    _ if self.skip > 0 => Err(self.cut_short(self.offset)),
                    _ => Ok(None),
                };
            };
            let known = self.skip.min(piece.len() as u64);
            self.skip -= known;
            let piece = piece.split_off(known as usize);
            let end = self.offset + piece.len() as u64;
            if let Some(wanted) = self.end().filter(|wanted| end > *wanted) {
                let message = match &self.part {
                    None => format!("{} sends more than the {wanted} bytes of the blob", self.host()),
                    Some(_) => format!("{} sends more than it was asked for", self.host()),
                };
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
        if self.part.is_none()
            && self.interruptions == 0
            && let Some(parked) = blob.take_parked()
        {
            self.size = self.size.or(parked.announced_len());
            return Ok(parked);
        }
        let mut headers = HeaderMap::new();
        let in_part = self.part.is_some() || (self.offset > 0 && !self.no_ranges);
        let wanted = self.end().filter(|_| in_part).map(|end| self.offset..end);
        if let Some(wanted) = &wanted {
            // Closed, because some registries answer 416 to an open one.
            let range = format!("bytes={}-{}", wanted.start, wanted.end - 1);
            headers.insert(
                RANGE,
                HeaderValue::try_from(range)
                    .map_err(|_| Error::unavailable("the range to go on with is no header"))?,
            );
        }
        let url = endpoint.url(Resource::Blob, &blob.digest.to_string());
        let response = blob.transport.get(endpoint, &url, &headers).await?;
        match (response.status(), wanted) {
            // All of the blob, of which nothing is received then.
            (StatusCode::OK, Some(_)) if self.part.is_some() => {
                self.no_ranges = true;
                Err(Error::unavailable(format!("{} serves no ranges", endpoint.host())).into())
            }
            (StatusCode::OK, _) => {
                let body = blob.transport.body(response, endpoint.host());
                check_len(&body, self.size, endpoint)?;
                self.size = self.size.or(body.announced_len());
                self.skip = self.offset;
                Ok(body)
            }
            (StatusCode::PARTIAL_CONTENT, Some(wanted)) => {
                let range = response
                    .headers()
                    .get(CONTENT_RANGE)
                    .and_then(|range| range.to_str().ok());
                if !range
                    .and_then(ContentRange::parse)
                    .is_some_and(|range| range.answers(&wanted, self.size))
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
        if self.part.is_some() && self.no_ranges {
            self.without_ranges += 1;
            if self.without_ranges >= endpoints {
                return Err(error);
            }
            self.no_ranges = false;
            self.go_to_next_endpoint();
            return Ok(());
        }
        let elsewhere = error.kind() == ErrorKind::Permanent && endpoints > 1;
        if error.kind() != ErrorKind::Unavailable && !elsewhere {
            return Err(error);
        }
        self.fruitless += 1;
        self.interruptions += 1;
        let config = &self.blob.transport.config;
        if self.fruitless > config.max_retries || self.interruptions > config.max_resumes {
            let message = format!(
                "gave up at byte {} after {} interruptions",
                self.offset, self.interruptions
            );
            return Err(Error::unavailable(message).caused_by(error));
        }
        tracing::info!(
            host = self.host(),
            digest = %self.blob.digest,
            offset = self.offset,
            attempt = self.fruitless,
            error = chain(&error),
            "blob interrupted, going on"
        );
        self.blob.transport.stats.count_repeated_read();
        let wait = delay(config, self.fruitless - 1, retry_after);
        if endpoints > 1 {
            self.go_to_next_endpoint();
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn go_to_next_endpoint(&mut self) {
        self.endpoint = (self.endpoint + 1) % self.blob.endpoints.len();
        self.permit = None;
    }

    fn cut_short(&self, expected: u64) -> Failure {
        let at = self.offset - self.skip;
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

#[async_trait]
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

    async fn fetch(self: Arc<Self>, range: Range<u64>) -> Result<Option<Bytes>> {
        check_range(&range, self.size)?;
        if range.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        if self.no_ranges.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let fetched = Transfer::fetch(Arc::clone(&self), range).await?;
        if fetched.is_none() {
            self.no_ranges.store(true, Ordering::Relaxed);
        }
        Ok(fetched)
    }
}

#[cfg(test)]
mod tests;

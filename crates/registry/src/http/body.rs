//! The bytes of an answer, one piece at a time, under the idle time-out.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cache_core::Error;
use reqwest::Response;
use tokio::time::timeout;

use super::failure::Failure;
use crate::OriginStats;

/// An answer that is being received.
#[derive(Debug)]
pub(super) struct Body {
    response: Response,
    host: Box<str>,
    idle: Duration,
    stats: OriginStats,
}

impl Body {
    pub(super) fn new(response: Response, host: &str, idle: Duration, stats: OriginStats) -> Self {
        Self {
            response,
            host: host.into(),
            idle,
            stats,
        }
    }

    /// The length that the registry announced, in bytes.
    pub(super) fn announced_len(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next bytes, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let piece = timeout(self.idle, self.response.chunk())
            .await
            .map_err(|_| Error::unavailable(format!("{} sent nothing for {:?}", self.host, self.idle)))?
            .map_err(|error| Failure::of_transfer(error, &self.host))?;
        self.stats.count_bytes(piece.as_ref().map_or(0, Bytes::len));
        Ok(piece)
    }

    /// All bytes, if they are at most `limit`; no more than that is kept in memory.
    pub(super) async fn read_all(mut self, limit: u64, what: &str) -> Result<Bytes, Failure> {
        let too_long =
            |host: &str| Error::permanent(format!("{host} sent a {what} of more than {limit} bytes")).into();
        if self.announced_len().is_some_and(|len| len > limit) {
            return Err(too_long(&self.host));
        }
        let mut all = BytesMut::new();
        while let Some(piece) = self.next().await? {
            if (all.len() + piece.len()) as u64 > limit {
                return Err(too_long(&self.host));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }
}

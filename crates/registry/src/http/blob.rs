//! A blob that a registry was found to have.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cache_core::{Digest, Error, Result};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::body::Body;
use super::endpoint::{Endpoint, Resource};
use super::failure::Failure;
use super::transport::Transport;

/// How long the answer that showed that the blob is there waits for its reader.
const PARKED: Duration = Duration::from_secs(5);

/// A blob, and the servers to receive it from.
#[derive(Debug)]
pub(super) struct RegistryBlob {
    pub(super) transport: Arc<Transport>,
    pub(super) endpoints: Vec<Endpoint>,
    /// Which of the endpoints had it.
    pub(super) found_at: usize,
    pub(super) digest: Digest,
    /// Its length in bytes, from the manifest.
    pub(super) size: Option<u64>,
    /// The answer that showed that it is there, for the first stream. A std mutex: it is only taken from.
    parked: Mutex<Option<Body>>,
    /// Whether no endpoint serves parts of it, as far as is known.
    pub(super) no_ranges: AtomicBool,
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
        let url = endpoint.url(Resource::Blob, &digest.to_string());
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
            no_ranges: AtomicBool::new(false),
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

    pub(super) fn take_parked(&self) -> Option<Body> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A registry that announces another length than the manifest does has another blob.
pub(super) fn check_len(body: &Body, size: Option<u64>, endpoint: &Endpoint) -> Result<()> {
    match (body.announced_len(), size) {
        (Some(announced), Some(size)) if announced != size => Err(Error::corrupt(format!(
            "{} has a blob of {announced} bytes instead of {size}: it, or something in between, serves other bytes than the manifest names",
            endpoint.host()
        ))),
        _ => Ok(()),
    }
}

//! A registry on loopback that answers what a test tells it to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use tokio::runtime::Runtime;

use crate::image::{Image, MANIFEST_TYPE};

/// A request as the registry sees it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// How many requests for the same path came before.
    pub(crate) before: usize,
}

impl Asked {
    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// What stands behind the last slash of the path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }

    pub(crate) fn is_for_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }
}

/// Serves until it is dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    address: SocketAddr,
    /// Dropped with all connections that are open.
    _runtime: Runtime,
}

impl Registry {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answer) = (Arc::new(Mutex::new(Vec::<String>::new())), Arc::new(answer));
        let app = Router::new().fallback(async move |request: Request| {
            let path = request.uri().path().to_owned();
            let before = {
                let mut asked = asked.lock().unwrap();
                let before = asked.iter().filter(|earlier| **earlier == path).count();
                asked.push(path.clone());
                before
            };
            let headers = request.headers().clone();
            answer(&Asked {
                path,
                headers,
                before,
            })
        });
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self {
            address,
            _runtime: runtime,
        }
    }

    /// Serves an image as it should, but for the requests that `instead` has an answer to.
    pub(crate) fn of_image(
        mut image: Image,
        instead: impl Fn(&Asked) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let manifest = image.finish();
        Self::start(move |asked| {
            if let Some(answer) = instead(asked) {
                return answer;
            }
            if asked.is_for_manifest() {
                return with(200, &[("content-type", MANIFEST_TYPE)], manifest.clone());
            }
            match image.blobs.get(asked.name()) {
                Some(blob) => ranged(asked, blob),
                None => with(404, &[], ""),
            }
        })
    }

    /// `HOST:PORT`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// The image that is served.
    pub(crate) fn image(&self) -> String {
        format!("{}/team/app:latest", self.address)
    }
}

/// An answer.
pub(crate) fn with(code: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut response = Response::builder().status(StatusCode::from_u16(code).unwrap());
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

/// The blob, or the range of it that is asked for.
fn ranged(asked: &Asked, blob: &[u8]) -> Response {
    match first_byte(asked) {
        None => with(200, &[], blob.to_vec()),
        Some(start) => with(
            206,
            &[("content-range", &content_range(start, blob.len()))],
            blob[start..].to_vec(),
        ),
    }
}

/// Where the range that is asked for begins.
fn first_byte(asked: &Asked) -> Option<usize> {
    let (start, _) = asked
        .header(header::RANGE)?
        .strip_prefix("bytes=")
        .unwrap()
        .split_once('-')
        .unwrap();
    Some(start.parse().unwrap())
}

fn content_range(start: usize, len: usize) -> String {
    format!("bytes {start}-{}/{len}", len - 1)
}

/// Answers as [`ranged`], but cuts the connection after `sent` bytes.
pub(crate) fn cut_after(asked: &Asked, blob: &[u8], sent: usize) -> Response {
    let start = first_byte(asked).unwrap_or(0);
    let rest = &blob[start..];
    let pieces = [
        Ok(Bytes::copy_from_slice(&rest[..sent.min(rest.len())])),
        Err(std::io::Error::other("cut")),
    ];
    // The turns given to others let the first piece reach the socket before the connection is torn down.
    let body = stream::iter(pieces).then(async |piece| {
        if piece.is_err() {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        }
        piece
    });
    let len = rest.len().to_string();
    let range = content_range(start, blob.len());
    let headers = [("content-length", len.as_str()), ("content-range", &range)];
    match start {
        0 => with(200, &headers[..1], Body::from_stream(body)),
        _ => with(206, &headers, Body::from_stream(body)),
    }
}

/// `sent` bytes of a blob, and then silence.
pub(crate) fn stall_after(blob: &[u8], sent: usize) -> Response {
    let piece = Ok::<_, std::io::Error>(Bytes::copy_from_slice(&blob[..sent]));
    let body = stream::iter([piece]).chain(stream::pending());
    let len = blob.len().to_string();
    with(200, &[("content-length", &len)], Body::from_stream(body))
}

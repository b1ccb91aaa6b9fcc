//! An HTTP server on loopback that answers what a test tells it to, and remembers what it was asked.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures_util::{StreamExt, stream};

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// How many requests for the same path came before.
    pub(crate) before: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn authorization(&self) -> Option<&str> {
        self.header(header::AUTHORIZATION)
    }

    pub(crate) fn range(&self) -> Option<&str> {
        self.header(header::RANGE)
    }
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (log, answer) = (Arc::clone(&seen), Arc::new(answer));
        let app = Router::new().fallback(async move |request: Request| {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let request = {
                let mut log = log.lock().unwrap();
                let path = parts.uri.path().to_owned();
                let request = Seen {
                    method: parts.method.to_string(),
                    query: parts.uri.query().unwrap_or_default().to_owned(),
                    headers: parts.headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                    before: log.iter().filter(|seen| seen.path == path).count(),
                    path,
                };
                log.push(request.clone());
                request
            };
            answer(&request)
        });
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { host, seen, task }
    }

    /// All requests so far, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests whose path contains `part`.
    pub(crate) fn seen_at(&self, part: &str) -> Vec<Seen> {
        self.seen()
            .into_iter()
            .filter(|seen| seen.path.contains(part))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn status(code: u16) -> Response {
    with(code, &[], "")
}

pub(crate) fn with(code: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut response = Response::builder().status(StatusCode::from_u16(code).unwrap());
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

/// `sent` of a body of `len` bytes, then a cut connection.
pub(crate) fn cut(sent: &[u8], len: usize) -> Response {
    let pieces = [
        Ok(Bytes::copy_from_slice(sent)),
        Err(std::io::Error::other("cut")),
    ];
    // The pause lets the first piece reach the socket before the connection is torn down.
    let stream = stream::iter(pieces).then(async |piece| {
        if piece.is_err() {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        }
        piece
    });
    with(
        200,
        &[("content-length", &len.to_string())],
        Body::from_stream(stream),
    )
}

/// `sent` of a body of `len` bytes, then silence.
pub(crate) fn stall(sent: &[u8], len: usize) -> Response {
    let first = stream::iter([Ok::<_, std::io::Error>(Bytes::copy_from_slice(sent))]);
    with(
        200,
        &[("content-length", &len.to_string())],
        Body::from_stream(first.chain(stream::pending())),
    )
}

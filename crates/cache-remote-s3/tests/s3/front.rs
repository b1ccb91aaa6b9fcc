//! A server in front of the real one that answers some requests itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use futures_util::stream;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// A request, and how it ended.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// Path and query, as they came.
    pub(crate) target: String,
    pub(crate) range: Option<String>,
    pub(crate) if_match: Option<String>,
    /// `None` while it is under way.
    pub(crate) answer: Option<StatusCode>,
}

impl Seen {
    pub(crate) fn is_index(&self) -> bool {
        let path = self.target.split('?').next().unwrap();
        path.ends_with(":index") || path.ends_with("%3Aindex")
    }

    pub(crate) fn begins_upload(&self) -> bool {
        self.method == Method::POST && self.target.contains("?uploads")
    }

    pub(crate) fn is_part(&self) -> bool {
        self.method == Method::PUT && self.target.contains("partNumber=")
    }

    pub(crate) fn completes_upload(&self) -> bool {
        self.method == Method::POST && self.target.contains("uploadId=")
    }

    pub(crate) fn aborts_upload(&self) -> bool {
        self.method == Method::DELETE && self.target.contains("uploadId=")
    }

    pub(crate) fn lists_uploads(&self) -> bool {
        self.method == Method::GET && self.target.contains("uploads") && !self.target.contains("uploadId=")
    }

    /// Garage drops the uploads of an object with the next one that is complete.
    fn ended_upload(&self) -> bool {
        let gone = self.answer == Some(StatusCode::NOT_FOUND);
        (self.completes_upload() || self.aborts_upload()) && (self.succeeded() || gone)
    }

    fn failed(&self) -> bool {
        self.answer.is_some_and(|status| !status.is_success())
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.answer.is_some_and(|status| status.is_success())
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    Pass,
    /// The real server's answer, cut after so many bytes of its body.
    Cut(usize),
    /// The real server's answer to a range, under another name.
    Rename(&'static str),
    Answer(StatusCode, &'static str),
    /// The request goes on with its last byte changed.
    Damage,
    Hang,
}

#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    log: watch::Sender<Vec<Seen>>,
    _serving: AbortOnDropHandle<()>,
}

impl Front {
    /// A front whose `rule` is asked about each request.
    pub(crate) async fn start(
        upstream: SocketAddr,
        rule: impl Fn(&Seen) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (log, _) = watch::channel(Vec::new());
        let (rule, sender) = (Arc::new(rule), log.clone());
        let router = Router::new().fallback(move |request: Request| {
            let (rule, log) = (Arc::clone(&rule), sender.clone());
            async move {
                let seen = seen(&request);
                let verdict = rule(&seen);
                let mut at = 0;
                log.send_modify(|log| {
                    at = log.len();
                    log.push(seen);
                });
                let answer = answer(upstream, request, verdict).await;
                log.send_modify(|log| log[at].answer = Some(answer.status()));
                answer
            }
        });
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            log,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    /// One that only looks on.
    pub(crate) async fn watch(upstream: SocketAddr) -> Self {
        Self::start(upstream, |_| Verdict::Pass).await
    }

    pub(crate) fn log(&self) -> Vec<Seen> {
        self.log.borrow().clone()
    }

    pub(crate) fn count(&self, which: impl Fn(&Seen) -> bool) -> usize {
        self.log.borrow().iter().filter(|seen| which(seen)).count()
    }

    /// Waits until the log is as `ready` wants it.
    pub(crate) async fn wait_for(&self, ready: impl Fn(&[Seen]) -> bool) {
        let mut log = self.log.subscribe();
        log.wait_for(|log| ready(log)).await.unwrap();
    }

    /// Waits until every upload that was begun has been completed or aborted.
    pub(crate) async fn wait_for_uploads_to_end(&self) {
        self.wait_for(|log| {
            let count = |which: fn(&Seen) -> bool| log.iter().filter(|seen| which(seen)).count();
            count(Seen::ended_upload) >= count(|seen| seen.begins_upload() && !seen.failed())
        })
        .await;
    }
}

fn seen(request: &Request) -> Seen {
    let header = |name| {
        let value = request.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    Seen {
        method: request.method().clone(),
        target: request.uri().to_string(),
        range: header(header::RANGE),
        if_match: header(header::IF_MATCH),
        answer: None,
    }
}

async fn answer(upstream: SocketAddr, request: Request, verdict: Verdict) -> Response {
    match verdict {
        Verdict::Pass => pass(upstream, request).await,
        Verdict::Cut(after) => {
            let (head, body) = pass(upstream, request).await.into_parts();
            let cut = body.into_data_stream().scan(after, |left, piece| {
                let mut piece = piece.unwrap();
                piece.truncate(*left);
                *left -= piece.len();
                std::future::ready((!piece.is_empty()).then_some(Ok(piece)))
            });
            let end = stream::once(std::future::ready(Err(std::io::Error::other("cut"))));
            Response::from_parts(head, Body::from_stream(cut.chain(end)))
        }
        Verdict::Rename(range) => {
            let mut answer = pass(upstream, request).await;
            answer
                .headers_mut()
                .insert(header::CONTENT_RANGE, range.parse().unwrap());
            answer
        }
        Verdict::Answer(status, body) => {
            // The client is heard out, or the connection ends with a reset.
            let _ = axum::body::to_bytes(request.into_body(), usize::MAX).await;
            Response::builder().status(status).body(body.into()).unwrap()
        }
        Verdict::Damage => {
            let (head, body) = request.into_parts();
            let mut body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
            *body.last_mut().unwrap() ^= 1;
            pass(upstream, Request::from_parts(head, body.into())).await
        }
        Verdict::Hang => std::future::pending().await,
    }
}

/// The request goes on as it is, with its signature.
async fn pass(upstream: SocketAddr, request: Request) -> Response {
    let connection = TcpStream::connect(upstream).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
        .await
        .unwrap();
    tokio::spawn(connection);
    match sender.send_request(request).await {
        Ok(answer) => answer.map(Body::new),
        // The client has gone in the middle of its request.
        Err(_) => Response::builder().status(502).body(Body::empty()).unwrap(),
    }
}

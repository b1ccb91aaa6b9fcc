//! `--metrics`: what is counted, over HTTP for as long as a command runs.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::http::{Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use layercache::Stack;
use layercache::metrics::{self, CONTENT_TYPE};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::args::LogFormat;
use super::context::Context;

const PATH: &str = "/metrics";
/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 8;
/// How long a connection may take, which is for one request: who sends nothing must not keep others out.
const LONGEST: Duration = Duration::from_secs(5);
/// The pause after no connection could be accepted, as without a free file descriptor.
const PAUSE: Duration = Duration::from_millis(100);

/// What is counted, and where it is to be served.
pub(super) struct Metrics {
    address: SocketAddr,
    metrics: metrics::Metrics,
}

/// Serves until it is dropped.
pub(super) struct Serving(JoinHandle<()>);

impl Metrics {
    /// From now on metrics are counted.
    pub(super) fn install(address: SocketAddr) -> Result<Self> {
        let metrics = metrics::install().context("--metrics")?;
        Ok(Self { address, metrics })
    }

    /// Serves them, and says where: whoever asks for port 0 cannot know.
    pub(super) async fn serve(self, context: &Context, log_format: Option<LogFormat>) -> Result<Serving> {
        let Self { address, metrics } = self;
        let listening = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            std::io::Result::Ok((listener, address))
        };
        let (listener, address) = listening
            .await
            .with_context(|| format!("--metrics: cannot listen on {address}"))?;
        let url = format!("http://{address}{PATH}");
        match log_format {
            Some(_) => tracing::info!(url, "serving metrics"),
            None => context.bars.suspend(|| eprintln!("metrics at {url}")),
        }
        let stack = Arc::clone(&context.stack);
        Ok(Serving(tokio::spawn(accept(listener, metrics, stack))))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Dropping the future closes all connections.
async fn accept(listener: TcpListener, metrics: metrics::Metrics, stack: Arc<Stack>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, metrics.clone(), Arc::clone(&stack)));
            }
            Err(error) => {
                tracing::warn!(%error, "no connection accepted for the metrics");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, metrics: metrics::Metrics, stack: Arc<Stack>) {
    let service = service_fn(|request| answer(request, &metrics, &stack));
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(LONGEST, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for the metrics was cut"),
        Err(_) => tracing::debug!("a connection for the metrics took too long"),
    }
}

async fn answer(
    request: Request<Incoming>,
    metrics: &metrics::Metrics,
    stack: &Stack,
) -> Result<Response, Infallible> {
    if request.uri().path() != PATH {
        return Ok((StatusCode::NOT_FOUND, "metrics are at /metrics\n").into_response());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(StatusCode::METHOD_NOT_ALLOWED.into_response());
    }
    stack.sample_metrics().await;
    let metrics = metrics.clone();
    let rendered = tokio::task::spawn_blocking(move || metrics.render()).await;
    Ok(match rendered {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    })
}

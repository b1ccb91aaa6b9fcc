//! A registry that passes on what another one answers, and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use futures_util::stream;
use tokio::runtime::Runtime;

/// Serves what the registry at some address does, until it is dropped.
pub(super) struct Relay {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

#[derive(Default)]
struct State {
    fetched: BTreeMap<String, u32>,
    refused: BTreeSet<String>,
}

impl Relay {
    /// In front of the registry `upstream`, `HOST:PORT`.
    pub(super) fn start(upstream: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let (seen, upstream) = (Arc::clone(&state), format!("http://{upstream}"));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let app = Router::new().fallback(async move |request: Request| {
            let (asked, _) = request.into_parts();
            let digest = asked.uri.path().rsplit_once("/blobs/");
            if let Some((_, digest)) = digest.filter(|_| asked.method == "GET") {
                let mut state = seen.lock().unwrap();
                *state.fetched.entry(digest.to_owned()).or_insert(0) += 1;
                if state.refused.contains(digest) {
                    let mut refusal = Response::new(Body::empty());
                    *refusal.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    return refusal;
                }
            }
            pass_on(&client, &upstream, &asked).await
        });
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self {
            address,
            state,
            _runtime: runtime,
        }
    }

    /// A tag of the image `debian`.
    pub(super) fn debian(&self, tag: &str) -> String {
        format!("{}/debian:{tag}", self.address)
    }

    /// How often a blob was asked for.
    pub(super) fn fetches(&self, digest: &str) -> u32 {
        let state = self.state.lock().unwrap();
        state.fetched.get(digest).copied().unwrap_or(0)
    }

    /// From now on these blobs are not served: as if the registry were gone, but for what the image is.
    pub(super) fn refuse(&self, digests: &[String]) {
        let mut state = self.state.lock().unwrap();
        state.fetched.clear();
        state.refused = digests.iter().cloned().collect();
    }
}

async fn pass_on(client: &reqwest::Client, upstream: &str, request: &Parts) -> Response {
    let mut asked = client.request(request.method.clone(), format!("{upstream}{}", request.uri));
    for (name, value) in request.headers.iter().filter(|(name, _)| *name != "host") {
        asked = asked.header(name, value);
    }
    let answer = asked.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    let pieces = stream::try_unfold(answer, async |mut answer| {
        Ok::<_, reqwest::Error>(answer.chunk().await?.map(|piece| (piece, answer)))
    });
    response.body(Body::from_stream(pieces)).unwrap()
}

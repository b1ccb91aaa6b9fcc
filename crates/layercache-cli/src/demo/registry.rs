//! A registry for one image, on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower_http::services::ServeDir;

use super::image::{DemoImage, MANIFEST_TYPE};

const REPOSITORY: &str = "demo/image";

/// Serves until it is dropped.
pub(super) struct DemoRegistry {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl DemoRegistry {
    pub(super) async fn start(image: DemoImage) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("listening on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let manifest: Arc<[u8]> = image.manifest.into();
        let manifest = move || {
            let manifest = manifest.to_vec();
            async move { ([(CONTENT_TYPE, MANIFEST_TYPE)], manifest) }
        };
        let routes = Router::new()
            .route("/v2/", get(|| async {}))
            .route(
                &format!("/v2/{REPOSITORY}/manifests/{{reference}}"),
                get(manifest),
            )
            .nest_service(&format!("/v2/{REPOSITORY}/blobs"), ServeDir::new(image.blobs));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::warn!(%error, "the registry of the demo has stopped");
            }
        });
        Ok(Self { address, server })
    }

    /// The image as a reference.
    pub(super) fn location(&self) -> String {
        format!("{}/{REPOSITORY}:latest", self.address)
    }
}

impl Drop for DemoRegistry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

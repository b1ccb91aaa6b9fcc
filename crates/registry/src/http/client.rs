//! The HTTP clients: one with TLS, one without, one without and without a proxy.

use cache_core::{Error, Result};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Url};
use tokio::sync::OnceCell;

use super::config::RegistryConfig;
use super::endpoint::is_loopback;

/// Chooses the client for a URL.
///
/// The TLS client is built when it is first needed: it fails on a machine without CA certificates, where plain HTTP to
/// loopback must work all the same.
#[derive(Debug)]
pub(super) struct Clients {
    config: RegistryConfig,
    tls: OnceCell<Client>,
    plain: Client,
    loopback: Client,
}

impl Clients {
    pub(super) fn new(config: &RegistryConfig) -> Result<Self> {
        let plain = |builder: ClientBuilder| {
            builder
                .tls_certs_only([])
                .build()
                .map_err(|error| Error::permanent("the HTTP client cannot be set up").caused_by(error))
        };
        Ok(Self {
            config: config.clone(),
            tls: OnceCell::new(),
            plain: plain(builder(config))?,
            // A proxy has another loopback.
            loopback: plain(builder(config).no_proxy())?,
        })
    }

    pub(super) async fn for_url(&self, url: &Url) -> Result<&Client> {
        match url.scheme() {
            "http" if url.host_str().is_some_and(is_loopback) => Ok(&self.loopback),
            "http" => Ok(&self.plain),
            _ => self.tls.get_or_try_init(|| self.build_tls()).await,
        }
    }

    /// Reads the system's CA certificates, which is blocking work.
    async fn build_tls(&self) -> Result<Client> {
        let builder = builder(&self.config);
        let built = tokio::task::spawn_blocking(move || builder.build()).await;
        let failed = "no TLS: the CA certificates of this system cannot be used; install the package \
            `ca-certificates`, or name a file with SSL_CERT_FILE";
        match built {
            Ok(client) => client.map_err(|error| Error::permanent(failed).caused_by(error)),
            Err(error) => Err(Error::unavailable("setting up TLS was cancelled").caused_by(error)),
        }
    }
}

/// What all clients share. Time-outs other than the one for connecting, redirects and repetitions are the transport's;
/// HTTP/2 windows halve the throughput of blobs.
fn builder(config: &RegistryConfig) -> ClientBuilder {
    Client::builder()
        .http1_only()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(config.connect_timeout)
        .user_agent(&config.user_agent)
}

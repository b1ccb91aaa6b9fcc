//! [`RegistryOrigin`]: resolves images of registries and opens their layers.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{
    Capabilities, Digest, Error, ErrorKind, Inflater, LayerDescriptor, LayerReader, LayerSource, Result,
};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::time::timeout;

use super::blob::RegistryBlob;
use super::config::RegistryConfig;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::retry::delay;
use super::transport::Transport;
use crate::credentials::CredentialProvider;
use crate::location::{REGISTRY, split_file_locator};
use crate::manifest::{self, Descriptor};
use crate::resolve::{self, Documents, MAX_CONFIG_LEN, MAX_MANIFEST_LEN, Root, verify_digest};
use crate::{
    Image, ImageLocation, ImageReference, ImageSource, OriginStats, Platform, Repository, media_type,
};

/// The origin named `registry`: every registry that speaks the OCI distribution specification, by pull.
///
/// Its locators are `host[:port]/repository`. Opening a layer sends the request for its blob at once, so absence and denial
/// are known then; the first stream takes that answer over if it comes within five seconds.
#[derive(Clone, Debug)]
pub struct RegistryOrigin {
    transport: Arc<Transport>,
    inflater: Inflater,
}

impl RegistryOrigin {
    /// An origin with its own connections, tokens and counters, for all hosts. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a mirror that is no base URL; [`ErrorKind::Permanent`] when HTTP cannot be set up, as with a
    /// `user_agent` that is no header.
    pub fn new(
        config: RegistryConfig,
        credentials: Arc<dyn CredentialProvider>,
        inflater: Inflater,
    ) -> Result<Self> {
        let any = Repository::at("mirror.example", "image");
        for base in config.mirrors.values().flatten() {
            Endpoint::mirror(base, &any)?;
        }
        Ok(Self {
            transport: Arc::new(Transport::new(config, credentials)?),
            inflater,
        })
    }

    /// What it cost so far.
    pub fn stats(&self) -> OriginStats {
        self.transport.stats.clone()
    }

    async fn open_blob(&self, layer: &LayerDescriptor) -> Result<Option<Arc<RegistryBlob>>> {
        let Some(locator) = layer.repository.as_deref() else {
            return Err(Error::permanent(
                "the layer has no repository: set it to `host/path` to say whom to ask",
            ));
        };
        if split_file_locator(locator).is_some() {
            return Ok(None);
        }
        let endpoints = Endpoint::all(&self.transport.config, &locator.parse()?)?;
        let found = self
            .transport
            .first(&endpoints, |endpoint| {
                RegistryBlob::request(&self.transport, endpoint, &layer.digest, layer.size)
            })
            .await?;
        Ok(found.map(|found| {
            RegistryBlob::new(
                Arc::clone(&self.transport),
                endpoints,
                found,
                layer.digest,
                layer.size,
            )
        }))
    }

    async fn resolve_reference(&self, reference: &ImageReference, platform: &Platform) -> Result<Image> {
        let repository = reference.repository();
        let documents = RegistryDocuments {
            endpoints: Endpoint::all(&self.transport.config, repository)?,
            transport: &self.transport,
        };
        let digest = reference.digest();
        let name = digest
            .map(Digest::to_string)
            .or_else(|| reference.tag().map(str::to_owned));
        let (bytes, content_type) = documents
            .fetch("manifests", &name.unwrap_or_default(), digest)
            .await?;
        let root = Root {
            digest: digest.copied().unwrap_or_else(|| Digest::sha256_of(&bytes)),
            document: manifest::parse(&bytes, &content_type)?,
        };
        resolve::resolve(&documents, repository.to_string().into(), root, platform).await
    }
}

#[async_trait]
impl LayerSource for RegistryOrigin {
    fn name(&self) -> &str {
        REGISTRY
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let blob = self
            .open_blob(layer)
            .await
            .map_err(|error| error.at(REGISTRY, "open").of_layer(&layer.digest))?;
        Ok(blob.map(|blob| self.inflater.reader(REGISTRY, layer, blob)))
    }
}

#[async_trait]
impl ImageSource for RegistryOrigin {
    async fn resolve(&self, location: &ImageLocation, platform: &Platform) -> Result<Image> {
        match location {
            ImageLocation::Registry(reference) => self.resolve_reference(reference, platform).await,
            other => Err(Error::permanent(format!(
                "{other} is an image of the origin `{}`",
                other.origin()
            ))),
        }
        .map_err(|error| error.at(REGISTRY, "resolve"))
    }
}

impl Transport {
    /// Asks the endpoints in order for something that may be absent, and tells which one had it. A mirror is asked once, the
    /// host itself until it answers or the repetitions are used up; what the host says counts.
    async fn first<'a, T, F>(
        &'a self,
        endpoints: &'a [Endpoint],
        ask: impl Fn(&'a Endpoint) -> F,
    ) -> Result<Option<(usize, T)>>
    where
        F: Future<Output = Result<Option<T>, Failure>>,
    {
        for (number, endpoint) in endpoints.iter().enumerate() {
            let mut attempt = 0;
            loop {
                let Failure { error, retry_after } = match ask(endpoint).await {
                    Ok(Some(found)) => return Ok(Some((number, found))),
                    Ok(None) => break,
                    Err(failure) => failure,
                };
                let host = endpoint.host();
                if endpoint.is_mirror {
                    tracing::warn!(host, %error, "mirror passed over");
                    break;
                }
                if error.kind() != ErrorKind::Unavailable || attempt == self.config.max_retries {
                    return Err(error);
                }
                tracing::warn!(host, attempt = attempt + 1, %error, "request failed, trying again");
                tokio::time::sleep(delay(&self.config, attempt, retry_after)).await;
                attempt += 1;
            }
        }
        Ok(None)
    }
}

/// The manifests and configs of one repository.
struct RegistryDocuments<'a> {
    transport: &'a Transport,
    endpoints: Vec<Endpoint>,
}

impl RegistryDocuments<'_> {
    /// A document and its content type. With a digest it is checked at once, so that a mirror that lies is passed over.
    async fn fetch(
        &self,
        kind: &'static str,
        name: &str,
        digest: Option<&Digest>,
    ) -> Result<(Bytes, String)> {
        let limit = if kind == "manifests" {
            MAX_MANIFEST_LEN
        } else {
            MAX_CONFIG_LEN
        };
        let found = self
            .transport
            .first(&self.endpoints, |endpoint| async move {
                let Some((bytes, content_type)) = self.request(endpoint, kind, name, limit).await? else {
                    return Ok(None);
                };
                if let Some(digest) = digest {
                    verify_digest(&bytes, digest, kind.trim_end_matches('s'))?;
                }
                Ok(Some((bytes, content_type)))
            })
            .await?;
        found.map(|(_, document)| document).ok_or_else(|| {
            let host = self.endpoints.last().map_or("the registry", Endpoint::host);
            Error::new(
                ErrorKind::NotFound,
                format!("{host} has no {} {name}", kind.trim_end_matches('s')),
            )
        })
    }

    async fn request(
        &self,
        endpoint: &Endpoint,
        kind: &str,
        name: &str,
        limit: u64,
    ) -> Result<Option<(Bytes, String)>, Failure> {
        let _permit = self.transport.permit(endpoint).await?;
        let host = endpoint.host();
        let accepted = if kind == "manifests" {
            media_type::ACCEPT
        } else {
            "*/*"
        };
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accepted))]);
        let fetch = async {
            let response = self
                .transport
                .get(endpoint, &endpoint.url(kind, name), &headers)
                .await?;
            match response.status() {
                StatusCode::OK => {
                    let content_type = response
                        .headers()
                        .get(CONTENT_TYPE)
                        .and_then(|text| text.to_str().ok());
                    let content_type = content_type
                        .and_then(|text| text.split(';').next())
                        .unwrap_or_default();
                    let content_type = content_type.trim().to_owned();
                    let bytes = self
                        .transport
                        .body(response, host)
                        .read_all(limit, kind.trim_end_matches('s'))
                        .await?;
                    Ok(Some((bytes, content_type)))
                }
                StatusCode::NOT_FOUND => Ok(None),
                status => Err(Failure::of_status(status, response.headers(), host)),
            }
        };
        timeout(self.transport.config.document_timeout, fetch)
            .await
            .map_err(|_| Error::unavailable(format!("{host} gave no answer in time")))?
    }
}

#[async_trait]
impl Documents for RegistryDocuments<'_> {
    async fn manifest(&self, descriptor: &Descriptor) -> Result<Bytes> {
        let name = descriptor.digest.to_string();
        self.fetch("manifests", &name, Some(&descriptor.digest))
            .await
            .map(|(bytes, _)| bytes)
    }

    async fn config(&self, descriptor: &Descriptor) -> Result<Bytes> {
        let name = descriptor.digest.to_string();
        self.fetch("blobs", &name, Some(&descriptor.digest))
            .await
            .map(|(bytes, _)| bytes)
    }
}

//! [`RegistryOrigin`]: resolves images of registries and opens their layers.

use std::sync::Arc;

use async_trait::async_trait;
use cache_core::inflate::Inflater;
use cache_core::{
    Capabilities, Digest, Error, LayerDescriptor, LayerReader, LayerSource, Probe, Result, Role,
};

use super::blob::RegistryBlob;
use super::config::RegistryConfig;
use super::documents::RegistryDocuments;
use super::endpoint::Endpoint;
use super::transport::Transport;
use crate::credentials::CredentialProvider;
use crate::location::{REGISTRY, probe, split_file_locator};
use crate::repository::is_host;
use crate::resolve::{self, Root};
use crate::{Image, ImageLocation, ImageReference, ImageSource, OriginStats, Platform, Repository, manifest};

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
    /// [`Invalid`](cache_core::ErrorKind::Invalid) for a mirror that is no base URL, or of what is no host; [`Permanent`](cache_core::ErrorKind::Permanent) when HTTP cannot be set up, as with a
    /// `user_agent` that is no header.
    pub fn new(
        config: RegistryConfig,
        credentials: Arc<dyn CredentialProvider>,
        inflater: Inflater,
    ) -> Result<Self> {
        let place = |error: Error| error.at(&config.name, "configure");
        if !config.mirrors.keys().all(|host| is_host(host)) {
            // Not repeated: it may be a URL with a password.
            let why = "`mirrors` has a key that is no host: expected HOST or HOST:PORT";
            return Err(place(Error::invalid(why)));
        }
        for base in config.mirrors.values().flatten() {
            Endpoint::mirror(base, &anywhere()).map_err(place)?;
        }
        let transport = Transport::new(config.clone(), credentials).map_err(place)?;
        Ok(Self {
            transport: Arc::new(transport),
            inflater,
        })
    }

    /// What it cost so far.
    pub fn stats(&self) -> OriginStats {
        self.transport.stats.clone()
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) async fn open_blob(&self, layer: &LayerDescriptor) -> Result<Option<Arc<RegistryBlob>>> {
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
        let (bytes, content_type) = documents.root(&name.unwrap_or_default(), digest).await?;
        let root = Root {
            digest: digest.copied().unwrap_or_else(|| Digest::sha256_of(&bytes)),
            document: manifest::parse(&bytes, &content_type)?,
        };
        resolve::resolve(&documents, repository.to_string().into(), root, platform).await
    }
}

/// Some repository, where it does not matter which.
pub(super) fn anywhere() -> Repository {
    Repository::at("mirror.example", "image")
}

#[async_trait]
impl LayerSource for RegistryOrigin {
    fn name(&self) -> &str {
        &self.transport.config.name
    }

    fn role(&self) -> Role {
        Role::Origin
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let blob = self
            .open_blob(layer)
            .await
            .map_err(|error| error.at(self.name(), "open").of_layer(&layer.digest))?;
        Ok(blob.map(|blob| self.inflater.reader(self.name(), layer, blob)))
    }

    async fn probe(&self, layer: &LayerDescriptor) -> Result<Probe> {
        Ok(probe(layer, REGISTRY))
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
        .map_err(|error| error.at(self.name(), "resolve"))
    }
}

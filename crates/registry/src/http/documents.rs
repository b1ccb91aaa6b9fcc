//! The manifests and configs of one repository.

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{Digest, Error, ErrorKind, Result};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::time::timeout;

use super::endpoint::{Endpoint, Resource};
use super::failure::Failure;
use super::transport::Transport;
use crate::manifest::Descriptor;
use crate::media_type;
use crate::resolve::{Documents, MAX_CONFIG_LEN, MAX_MANIFEST_LEN, verify_digest};

/// A repository whose documents are asked for.
pub(super) struct RegistryDocuments<'a> {
    pub(super) transport: &'a Transport,
    pub(super) endpoints: Vec<Endpoint>,
}

impl RegistryDocuments<'_> {
    /// The manifest or index with this tag or digest, and the content type it came with.
    pub(super) async fn root(&self, name: &str, digest: Option<&Digest>) -> Result<(Bytes, String)> {
        self.fetch(Resource::Manifest, name, digest).await
    }

    /// With a digest, a document is checked at once and not only where it is used, so that a mirror that lies is passed
    /// over.
    async fn fetch(
        &self,
        resource: Resource,
        name: &str,
        digest: Option<&Digest>,
    ) -> Result<(Bytes, String)> {
        let found = self
            .transport
            .first(&self.endpoints, |endpoint| async move {
                let found = self.request(endpoint, resource, name).await?;
                if let (Some((bytes, _)), Some(digest)) = (&found, digest) {
                    verify_digest(bytes, digest, resource.noun())?;
                }
                Ok(found)
            })
            .await?;
        found.map(|(_, document)| document).ok_or_else(|| {
            let place = self.endpoints.last().map_or_else(
                || "the registry".to_owned(),
                |endpoint| format!("{}/{}", endpoint.host(), endpoint.repository.path()),
            );
            let noun = match resource {
                Resource::Manifest if !name.contains(':') => "tag",
                other => other.noun(),
            };
            let message =
                format!("{place} has no {noun} {name}, or is not there: check the name of the image");
            Error::new(ErrorKind::NotFound, message)
        })
    }

    async fn request(
        &self,
        endpoint: &Endpoint,
        resource: Resource,
        name: &str,
    ) -> Result<Option<(Bytes, String)>, Failure> {
        let (accepted, limit) = match resource {
            Resource::Manifest => (media_type::ACCEPT, MAX_MANIFEST_LEN),
            Resource::Blob => ("*/*", MAX_CONFIG_LEN),
        };
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accepted))]);
        let host = endpoint.host();
        let _permit = self.transport.permit(endpoint).await?;
        let fetch = async {
            let response = self
                .transport
                .get(endpoint, &endpoint.url(resource, name), &headers)
                .await?;
            match response.status() {
                StatusCode::OK => {
                    let content_type = content_type(response.headers());
                    let body = self.transport.body(response, host);
                    Ok(Some((body.read_all(limit, resource.noun()).await?, content_type)))
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

/// The content type without its parameters; empty if there is none.
fn content_type(headers: &HeaderMap) -> String {
    let text = headers
        .get(CONTENT_TYPE)
        .and_then(|text| text.to_str().ok())
        .unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_owned()
}

#[async_trait]
impl Documents for RegistryDocuments<'_> {
    async fn manifest(&self, descriptor: &Descriptor) -> Result<Bytes> {
        let name = descriptor.digest.to_string();
        Ok(self
            .fetch(Resource::Manifest, &name, Some(&descriptor.digest))
            .await?
            .0)
    }

    async fn config(&self, descriptor: &Descriptor) -> Result<Bytes> {
        let name = descriptor.digest.to_string();
        Ok(self
            .fetch(Resource::Blob, &name, Some(&descriptor.digest))
            .await?
            .0)
    }
}

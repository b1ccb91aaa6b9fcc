//! From a manifest or an index to the one image for a platform, wherever the documents come from.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::digest::DigestHasher;
use cache_core::{Digest, Error, ErrorKind, Result};

use crate::manifest::{Config, Descriptor, Document, Manifest, parse};
use crate::{Image, Platform, media_type};

/// Longest manifest or index in bytes, as the distribution specification recommends.
pub(crate) const MAX_MANIFEST_LEN: u64 = 4 << 20;
/// Longest image config in bytes.
pub(crate) const MAX_CONFIG_LEN: u64 = 8 << 20;
/// How deep indexes may nest.
const MAX_DEPTH: usize = 4;
/// How many manifests and indexes are fetched for one image.
const MAX_DOCUMENTS: usize = 32;

/// Where manifests and configs come from. The bytes need not be verified.
#[async_trait]
pub(crate) trait Documents: Sync {
    /// The manifest or index with this digest; at most [`MAX_MANIFEST_LEN`] bytes.
    async fn manifest(&self, descriptor: &Descriptor) -> Result<Bytes>;

    /// The config with this digest; at most [`MAX_CONFIG_LEN`] bytes.
    async fn config(&self, descriptor: &Descriptor) -> Result<Bytes>;
}

/// A document whose digest was verified, or which was asked for by a tag and has the digest it has.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) digest: Digest,
    pub(crate) document: Document,
}

/// Finds the image for `platform` below `root` and fetches its config. Every child is verified against its digest.
pub(crate) async fn resolve(
    documents: &dyn Documents,
    repository: Arc<str>,
    root: Root,
    platform: &Platform,
) -> Result<Image> {
    let mut offered = Vec::new();
    let mut fetched = 0;
    let mut open = vec![Candidate {
        at: At::Here(root),
        depth: 0,
        must_match: false,
    }];
    while let Some(Candidate {
        at,
        depth,
        must_match,
    }) = open.pop()
    {
        let Root { digest, document } = match at {
            At::Here(root) => root,
            At::There(_) if fetched == MAX_DOCUMENTS => {
                return Err(Error::permanent(format!(
                    "the image index names more than {MAX_DOCUMENTS} candidates"
                )));
            }
            At::There(descriptor) => {
                fetched += 1;
                let bytes = verified(documents.manifest(&descriptor).await?, &descriptor, "manifest")?;
                let document = parse(&bytes, &descriptor.media_type)?;
                Root {
                    digest: descriptor.digest,
                    document,
                }
            }
        };
        match document {
            Document::Index(_) if depth == MAX_DEPTH => {
                return Err(Error::permanent(format!(
                    "image indexes are nested more than {MAX_DEPTH} deep"
                )));
            }
            Document::Index(index) => {
                open.extend(
                    candidates(index.manifests, depth + 1, platform, &mut offered)
                        .into_iter()
                        .rev(),
                );
            }
            Document::Manifest { manifest, media_type } => {
                let config = fetch_config(documents, &manifest).await?;
                if must_match {
                    let built_for = Config::parse(&config)?.platform();
                    if platform.rank(&built_for).is_none() {
                        offered.push(built_for.to_string());
                        continue;
                    }
                }
                return Image::assemble(repository, (digest, media_type), *manifest, config);
            }
        }
    }
    offered.truncate(20);
    let offered = if offered.is_empty() {
        "no platform".to_owned()
    } else {
        offered.join(", ")
    };
    Err(Error::new(
        ErrorKind::NotFound,
        format!("the image is not there for {platform}; it is for {offered}"),
    ))
}

struct Candidate {
    at: At,
    depth: usize,
    /// The index did not say what platform it is for, and had others to choose from: its config decides.
    must_match: bool,
}

enum At {
    Here(Root),
    There(Descriptor),
}

/// What of an index may be for `platform`, the best first, behind it what does not name a platform.
fn candidates(
    manifests: Vec<Descriptor>,
    depth: usize,
    platform: &Platform,
    offered: &mut Vec<String>,
) -> Vec<Candidate> {
    let images: Vec<_> = manifests
        .into_iter()
        .filter(|manifest| !manifest.is_attestation())
        .collect();
    let lone = images.len() == 1;
    let mut ranked = Vec::new();
    for descriptor in images {
        let is_index = media_type::is_index(&descriptor.media_type);
        let named = descriptor
            .platform
            .clone()
            .filter(|p| !p.os().is_empty() && !p.architecture().is_empty());
        let (rank, must_match) = match named {
            Some(named) => match platform.rank(&named) {
                Some(rank) => (rank, false),
                None => {
                    offered.push(named.to_string());
                    continue;
                }
            },
            None => (usize::MAX, !lone && !is_index),
        };
        ranked.push((
            rank,
            Candidate {
                at: At::There(descriptor),
                depth,
                must_match,
            },
        ));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, candidate)| candidate).collect()
}

async fn fetch_config(documents: &dyn Documents, manifest: &Manifest) -> Result<Bytes> {
    if manifest.config.size > MAX_CONFIG_LEN {
        return Err(Error::permanent(format!(
            "the image config has {} bytes, more than {MAX_CONFIG_LEN}",
            manifest.config.size
        )));
    }
    verified(
        documents.config(&manifest.config).await?,
        &manifest.config,
        "config",
    )
}

/// The bytes, if they are what the descriptor says.
fn verified(bytes: Bytes, descriptor: &Descriptor, what: &str) -> Result<Bytes> {
    if bytes.len() as u64 != descriptor.size {
        return Err(Error::corrupt(format!(
            "the {what} {} has {} bytes instead of {}",
            descriptor.digest,
            bytes.len(),
            descriptor.size
        )));
    }
    verify_digest(&bytes, &descriptor.digest, what)?;
    Ok(bytes)
}

/// Checks a document that was asked for by its digest.
pub(crate) fn verify_digest(bytes: &[u8], expected: &Digest, what: &str) -> Result<()> {
    let mut hasher = DigestHasher::new(expected.algorithm());
    hasher.update(bytes);
    let actual = hasher.finish();
    if actual != *expected {
        return Err(Error::corrupt(format!(
            "the {what} has the digest {actual} instead of {expected}"
        )));
    }
    Ok(())
}

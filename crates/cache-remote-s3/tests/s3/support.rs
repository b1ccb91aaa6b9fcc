//! The server, tiers on it, layers to put into them, and a client of its own to look behind the tier.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation};
use bytes::Bytes;
use cache_core::index::{IndexBuilder, Seal};
use cache_core::{
    Algorithm, Claim, Digest, LayerDescriptor, LayerIndex, LayerReader, LayerSource, LayerWriter, Result,
    Tier,
};
use cache_remote_s3::{S3Config, S3Tier};
use futures_util::TryStreamExt;

pub(crate) const CHUNK: usize = cache_core::index::CHUNK_LEN as usize;
pub(crate) const PART: usize = 5 << 20;

pub(crate) fn env(name: &str) -> String {
    let name = format!("LAYERCACHE_TEST_S3_{name}");
    std::env::var(&name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask test`"))
}

/// Where the real server listens.
pub(crate) fn server() -> SocketAddr {
    let endpoint = env("ENDPOINT");
    let address = endpoint.strip_prefix("http://").expect("a server without TLS");
    address.parse().expect("an address and a port")
}

/// A part of the bucket that no other test and no other run uses. Short: s3s-fs makes file names of keys.
pub(crate) fn prefix() -> String {
    format!("{:016x}/", RandomState::new().build_hasher().finish())
}

pub(crate) fn config_at(address: SocketAddr, prefix: &str) -> S3Config {
    S3Config::new(env("BUCKET"))
        .with_endpoint(Some(format!("http://{address}")))
        .with_region(Some(env("REGION")))
        .with_credentials(env("ACCESS_KEY_ID"), env("SECRET_ACCESS_KEY"))
        .with_prefix(prefix.into())
}

pub(crate) fn tier_at(address: SocketAddr, prefix: &str) -> S3Tier {
    S3Tier::new(config_at(address, prefix)).unwrap()
}

/// One that soon gives up.
pub(crate) fn hasty_at(address: SocketAddr, prefix: &str) -> S3Tier {
    S3Tier::new(config_at(address, prefix).with_timeout(Duration::from_millis(300))).unwrap()
}

/// The bucket, without the tier.
#[derive(Debug)]
pub(crate) struct Raw {
    client: Client,
    prefix: String,
}

impl Raw {
    pub(crate) fn new(prefix: &str) -> Self {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(env("ENDPOINT"))
            .region(Region::new(env("REGION")))
            .credentials_provider(Credentials::new(
                env("ACCESS_KEY_ID"),
                env("SECRET_ACCESS_KEY"),
                None,
                None,
                "test",
            ))
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .force_path_style(true)
            .build();
        Self {
            client: Client::from_conf(config),
            prefix: prefix.into(),
        }
    }

    fn key(&self, digest: &Digest, suffix: &str) -> String {
        format!("{}clip:oci:layer:decompressed:{digest}{suffix}", self.prefix)
    }

    pub(crate) async fn put(&self, digest: &Digest, suffix: &str, bytes: impl Into<Bytes>) {
        let request = self.client.put_object().bucket(env("BUCKET"));
        let request = request.key(self.key(digest, suffix)).body(bytes.into().into());
        request.send().await.unwrap();
    }

    pub(crate) async fn get(&self, digest: &Digest, suffix: &str) -> Bytes {
        let request = self.client.get_object().bucket(env("BUCKET"));
        let answer = request.key(self.key(digest, suffix)).send().await.unwrap();
        answer.body.collect().await.unwrap().into_bytes()
    }

    pub(crate) async fn delete(&self, digest: &Digest, suffix: &str) {
        let request = self.client.delete_object().bucket(env("BUCKET"));
        request.key(self.key(digest, suffix)).send().await.unwrap();
    }

    /// What all keys of the tier's objects end with.
    pub(crate) async fn names(&self) -> Vec<String> {
        let request = self.client.list_objects_v2().bucket(env("BUCKET"));
        let page = request.prefix(&self.prefix).send().await.unwrap();
        let keys = page.contents().iter().filter_map(|object| object.key());
        keys.map(|key| key.strip_prefix(&self.prefix).unwrap().to_owned())
            .collect()
    }
}

/// A layer as an image would describe it. Different seeds make different layers.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) bytes: Bytes,
    pub(crate) descriptor: LayerDescriptor,
    pub(crate) index: LayerIndex,
}

impl Layer {
    pub(crate) fn new(seed: u64, len: usize) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(len);
        let digest = Digest::sha256_of(format!("blob {seed} {len}").as_bytes());
        let mut builder = IndexBuilder::new(Algorithm::Sha256);
        builder.update(&bytes);
        let index = builder.finish(digest);
        let descriptor = LayerDescriptor::new(digest).with_diff_id(*index.diff_id());
        Self {
            bytes: bytes.into(),
            descriptor,
            index,
        }
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.descriptor.digest
    }

    pub(crate) fn sealed(&self) -> Bytes {
        Seal::plain().encode(&self.index)
    }
}

pub(crate) async fn claim(tier: &S3Tier, layer: &Layer) -> Box<dyn LayerWriter> {
    match tier.create(&layer.descriptor).await.unwrap() {
        Claim::Write(writer) => writer,
        Claim::Exists(_) => panic!("the layer is there already"),
    }
}

/// Pieces of no handy length.
pub(crate) async fn write(writer: &mut dyn LayerWriter, layer: &Layer) -> Result<()> {
    let mut rest = layer.bytes.clone();
    while !rest.is_empty() {
        let piece = rest.split_to(rest.len().min(200_003));
        writer.write(piece).await?;
    }
    Ok(())
}

pub(crate) async fn try_fill(tier: &S3Tier, layer: &Layer) -> Result<Arc<dyn LayerReader>> {
    match tier.create(&layer.descriptor).await? {
        Claim::Exists(reader) => Ok(reader),
        Claim::Write(mut writer) => {
            write(&mut *writer, layer).await?;
            writer.commit(&layer.index).await
        }
    }
}

/// A layer in the tier.
pub(crate) async fn fill(tier: &S3Tier, layer: &Layer) -> Arc<dyn LayerReader> {
    try_fill(tier, layer).await.unwrap()
}

pub(crate) async fn open(tier: &S3Tier, layer: &Layer) -> Arc<dyn LayerReader> {
    let found = tier.open(&layer.descriptor).await.unwrap();
    found.expect("the layer is there")
}

pub(crate) async fn read_all(reader: &Arc<dyn LayerReader>) -> Result<Vec<u8>> {
    let pieces: Vec<Bytes> = Arc::clone(reader).stream(0).try_collect().await?;
    Ok(pieces.concat())
}

//! Layers, tiers of every deployment, and a look at their keys.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::index::{CHUNK_LEN, IndexBuilder};
use cache_core::{
    Algorithm, Claim, Digest, LayerDescriptor, LayerIndex, LayerReader, LayerReaderExt, LayerSource,
    LayerWriter, Result, Tier,
};
use cache_remote_redis::{RedisConfig, RedisTier};
use futures_util::TryStreamExt;
use redis::FromRedisValue;

pub(crate) const CHUNK: usize = CHUNK_LEN as usize;

/// Where the tests' servers are.
pub(crate) fn env(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run this test through `cargo xtask test`"))
}

/// A time-out that the busiest machine keeps.
const PATIENT: Duration = Duration::from_secs(30);

/// Removal looks for every chunk that the longest layer may have: for what the tests write these are few.
const MAX_LAYER_BYTES: u64 = 64 << 20;

pub(crate) fn config(urls: impl IntoIterator<Item = impl Into<String>>) -> RedisConfig {
    RedisConfig::new(urls)
        .with_timeout(PATIENT)
        .with_max_layer_bytes(MAX_LAYER_BYTES)
}

/// The Redis that is alone.
pub(crate) fn one() -> RedisConfig {
    config([env("LAYERCACHE_TEST_REDIS")])
}

pub(crate) fn cluster() -> RedisConfig {
    config(cluster_urls())
}

pub(crate) fn cluster_urls() -> Vec<String> {
    env("LAYERCACHE_TEST_REDIS_CLUSTER")
        .split(',')
        .map(str::to_owned)
        .collect()
}

pub(crate) fn tls() -> RedisConfig {
    config([env("LAYERCACHE_TEST_REDIS_TLS")]).with_ca_certificate(Some(ca()))
}

pub(crate) fn ca() -> Vec<u8> {
    std::fs::read(env("LAYERCACHE_TEST_REDIS_CA")).unwrap()
}

pub(crate) fn deployments() -> [RedisConfig; 3] {
    [one(), cluster(), tls()]
}

pub(crate) fn tier(config: RedisConfig) -> RedisTier {
    RedisTier::new(config).unwrap()
}

/// The address of the Redis that is alone, to stand in front of.
pub(crate) fn address() -> std::net::SocketAddr {
    env("LAYERCACHE_TEST_REDIS")
        .strip_prefix("redis://")
        .unwrap()
        .parse()
        .unwrap()
}

/// A layer that nobody else has.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) descriptor: LayerDescriptor,
    pub(crate) bytes: Bytes,
    pub(crate) index: LayerIndex,
}

impl Layer {
    pub(crate) fn random(len: usize) -> Self {
        let mut bytes = vec![0; len];
        fastrand::fill(&mut bytes);
        let digest = Digest::sha256_of(&fastrand::u128(..).to_le_bytes());
        Self::new(digest, bytes.into())
    }

    pub(crate) fn new(digest: Digest, bytes: Bytes) -> Self {
        let mut builder = IndexBuilder::new(Algorithm::Sha256);
        builder.update(&bytes);
        let index = builder.finish(digest);
        Self {
            descriptor: LayerDescriptor::new(digest).with_diff_id(*index.diff_id()),
            bytes,
            index,
        }
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.descriptor.digest
    }

    pub(crate) fn key(&self, part: impl std::fmt::Display) -> String {
        format!("clip:oci:layer:decompressed:{}:{part}", self.digest())
    }

    pub(crate) async fn writer(&self, tier: &RedisTier) -> Box<dyn LayerWriter> {
        match tier.create(&self.descriptor).await.unwrap() {
            Claim::Write(writer) => writer,
            Claim::Exists(_) => panic!("the layer is there already"),
        }
    }

    /// Writes it in pieces that respect no boundary.
    pub(crate) async fn write_to(&self, writer: &mut dyn LayerWriter) -> Result<()> {
        let mut rest = self.bytes.clone();
        while !rest.is_empty() {
            writer.write(rest.split_to(rest.len().min(100_003))).await?;
        }
        Ok(())
    }

    pub(crate) async fn try_put(&self, tier: &RedisTier) -> Result<Arc<dyn LayerReader>> {
        let Claim::Write(mut writer) = tier.create(&self.descriptor).await? else {
            panic!("the layer is there already")
        };
        self.write_to(&mut *writer).await?;
        writer.commit(&self.index).await
    }

    pub(crate) async fn put(&self, tier: &RedisTier) {
        self.try_put(tier).await.unwrap();
    }

    pub(crate) async fn open(&self, tier: &RedisTier) -> Result<Option<Arc<dyn LayerReader>>> {
        tier.open(&self.descriptor).await
    }

    /// Whether it can be read. Panics at a wrong byte.
    pub(crate) async fn is_right_in(&self, tier: &RedisTier) -> Result<bool> {
        let Some(reader) = self.open(tier).await? else {
            return Ok(false);
        };
        self.check(reader).await.map(|()| true)
    }

    pub(crate) async fn check(&self, reader: Arc<dyn LayerReader>) -> Result<()> {
        assert_eq!(reader.len(), Some(self.bytes.len() as u64));
        let middle = self.bytes.len() / 2;
        let read = reader.read_bytes(middle as u64, 1000).await?;
        assert!(read == self.bytes[middle..(middle + 1000).min(self.bytes.len())]);
        let streamed: Vec<Bytes> = reader.stream(0).try_collect().await?;
        assert!(streamed.concat() == self.bytes);
        Ok(())
    }
}

/// A connection of its own, to look at the keys and to spoil them.
pub(crate) async fn raw(url: &str) -> Raw {
    let client = redis::Client::open(url).unwrap();
    Raw(client.get_multiplexed_async_connection().await.unwrap())
}

#[derive(Clone)]
pub(crate) struct Raw(redis::aio::MultiplexedConnection);

impl Raw {
    pub(crate) async fn one() -> Self {
        raw(&env("LAYERCACHE_TEST_REDIS")).await
    }

    pub(crate) async fn run<T: FromRedisValue>(&self, words: &[&dyn AsRef<[u8]>]) -> T {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word.as_ref());
        }
        command.query_async(&mut self.0.clone()).await.unwrap()
    }

    /// All keys that name the layer, whatever they are for.
    pub(crate) async fn keys_of(&self, digest: &Digest) -> Vec<String> {
        let (mut cursor, mut keys) = (0_u64, Vec::new());
        loop {
            let (next, page): (u64, Vec<String>) = self
                .run(&[
                    &"SCAN",
                    &cursor.to_string(),
                    &"MATCH",
                    &format!("*{}*", digest.hex()),
                    &"COUNT",
                    &"1000",
                ])
                .await;
            keys.extend(page);
            cursor = next;
            if cursor == 0 {
                return keys;
            }
        }
    }

    pub(crate) async fn pttl(&self, key: &str) -> i64 {
        self.run(&[&"PTTL", &key]).await
    }
}

/// Waits for what happens in the background, for half a minute at most.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn no_key_is_left(raw: &Raw, layer: &Layer) {
    eventually("no key is left", async || {
        raw.keys_of(layer.digest()).await.is_empty()
    })
    .await;
}

#[track_caller]
pub(crate) fn kind<T: Debug>(result: Result<T>) -> cache_core::ErrorKind {
    result.expect_err("this has to fail").kind()
}

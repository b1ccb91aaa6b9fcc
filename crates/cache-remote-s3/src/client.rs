//! The client of the SDK: how it is set up, and how long it waits.

use std::sync::Arc;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    Builder, Config, IdentityCache, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use cache_core::{Error, Result};
use tokio::time::timeout;

use crate::S3Config;
use crate::key_pair::Provider;

/// Attempts of one request, the first included.
const MAX_ATTEMPTS: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(2);

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deadline {
    /// One that carries little and is answered at once.
    Answer,
    /// One that carries a part of a layer, over a link that may be slow.
    Part,
    /// One that makes an object of thousands of parts.
    Complete,
}

impl Deadline {
    /// Of one attempt, and of all attempts with the waits between them; both count from the start of the request to the
    /// head of the answer.
    fn limits(self, timeout: Duration) -> (Duration, Duration) {
        match self {
            Self::Answer => (timeout, timeout * 2),
            Self::Part => (timeout * 4, timeout * 8),
            Self::Complete => (timeout * 12, timeout * 12),
        }
    }

    fn timeouts(self, timeout: Duration) -> TimeoutConfig {
        let (attempt, operation) = self.limits(timeout);
        TimeoutConfig::builder()
            .connect_timeout(timeout)
            .read_timeout(attempt)
            .operation_attempt_timeout(attempt)
            .operation_timeout(operation)
            .build()
    }

    /// What differs from the client's own settings, which are those of [`Deadline::Answer`].
    pub(crate) fn settings(self, timeout: Duration) -> Builder {
        Config::builder().timeout_config(self.timeouts(timeout))
    }
}

/// Reads what the environment has to say, which may ask the metadata service for the region; credentials are looked for when
/// the first request is signed.
pub(crate) async fn connect(config: &S3Config) -> Result<Client> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region(config))
        .timeout_config(Deadline::Answer.timeouts(config.timeout))
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(MAX_ATTEMPTS)
                .with_initial_backoff(FIRST_BACKOFF)
                .with_max_backoff(LAST_BACKOFF),
        )
        .identity_cache(IdentityCache::lazy().load_timeout(config.timeout).build());
    if let Some(key_pairs) = &config.key_pairs {
        // What the SDK would keep may be wrong by the next request.
        loader = loader
            .credentials_provider(Provider(Arc::clone(key_pairs)))
            .identity_cache(IdentityCache::no_cache());
    } else if let Some(pair) = &config.credentials {
        loader = loader.credentials_provider(pair.credentials());
    }
    if let Some(endpoint) = &config.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    // Twice: a metadata service that is not there uses up one time-out.
    let loaded = timeout(config.timeout * 2, loader.load())
        .await
        .map_err(|_| Error::unavailable("no answer to which region to use: set `region`"))?;
    if loaded.region().is_none() {
        return Err(Error::unavailable(
            "neither the environment nor a profile tells the region: set `region`",
        ));
    }
    // The SDK's own checksums travel in headers and trailers that other servers refuse. Bytes that are read are verified
    // against the index, and those that are written are signed, or on their way under TLS.
    let mut settings = aws_sdk_s3::config::Builder::from(&loaded)
        .force_path_style(config.path_style())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // A server that takes its time to store a part looks like a stalled upload.
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .upload_enabled(false)
                .grace_period(config.timeout)
                .build(),
        );
    // The certificates of the system need not be read then, which takes the SDK tens of milliseconds. Credentials may still come over
    // TLS, by the loader's client.
    if config.is_plain() {
        settings = settings.http_client(aws_smithy_http_client::Builder::new().build_http());
    }
    Ok(Client::from_conf(settings.build()))
}

/// A server of one's own rarely has regions, and a metadata service that is asked all the same costs seconds.
fn region(config: &S3Config) -> RegionProviderChain {
    let given = RegionProviderChain::first_try(config.region.clone().map(Region::new));
    match config.endpoint {
        Some(_) => given
            .or_else(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new())
            .or_else("us-east-1"),
        None => given.or_default_provider(),
    }
}

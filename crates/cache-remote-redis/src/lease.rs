//! Leases on layers.
//!
//! ```text
//! clip:oci:layer:lease:sha256:<64 hex>   while a lease is held "<token>:<progress>", both decimal, with its lifetime as expiry;
//!                                        for 10 s after it was given up "given-up"
//! clip:oci:layer:lease:fence             the last token that was given
//! ```
//! A token is one more than the last, and at least the server's clock in microseconds: a server that comes back empty does not
//! give old tokens again, since no server gives one each microsecond.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cache_core::lease::{Acquired, Lease, LeaseHolder, Leases, Release};
use cache_core::{Digest, Error, ErrorKind, Result};
use redis::Cmd;
use tokio::runtime::Handle;

use crate::store::Store;

const PREFIX: &str = "clip:oci:layer:lease:";
const FENCE: &str = "clip:oci:layer:lease:fence";
const GIVEN_UP: &[u8] = b"given-up";
/// How long others are told that a lease was given up.
const GIVEN_UP_FOR: Duration = Duration::from_secs(10);
/// The longest value is two numbers of 20 digits and a colon.
const MAX_VALUE_LEN: usize = 41;
/// How many times a lease that ends just while it is looked at is tried for.
const TRIES: usize = 3;

const NEXT_TOKEN: &str = "\
local now = redis.call('TIME')
local token = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') + 1, now[1] * 1000000 + now[2])
redis.call('SET', KEYS[1], string.format('%.0f', token))
return token";

/// ARGV: `<token>:`, and the progress and the lifetime. Whether the lease was held.
const RENEW: &str = "\
local value = redis.call('GET', KEYS[1])
if not value or string.sub(value, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return 1";

/// ARGV: `<token>:`, and for how long to leave `given-up`, if at all.
const RELEASE: &str = "\
local value = redis.call('GET', KEYS[1])
if not value or string.sub(value, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], 'given-up', 'PX', ARGV[2]) end
return 1";

/// Leases in the Redis of a tier.
#[derive(Debug)]
pub(crate) struct RedisLeases(pub(crate) Arc<Store>);

#[derive(Debug)]
struct RedisLease {
    store: Arc<Store>,
    layer: Digest,
    token: u64,
    released: bool,
}

fn key(layer: &Digest) -> String {
    format!("{PREFIX}{layer}")
}

fn script(text: &str, key: &str) -> Cmd {
    let mut request = redis::cmd("EVAL");
    request.arg(text).arg(1).arg(key);
    request
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl RedisLeases {
    async fn acquire(&self, layer: &Digest) -> Result<Acquired> {
        let connections = &self.0.connections;
        for _ in 0..TRIES {
            // Looked at first: whoever waits for a lease asks again and again, and needs no token for it.
            let mut look = redis::cmd("GETRANGE");
            look.arg(key(layer)).arg(0).arg(MAX_VALUE_LEN);
            let value: Vec<u8> = connections.ask(look).await?;
            if !value.is_empty() {
                return others(&value);
            }
            let token: u64 = connections.ask(script(NEXT_TOKEN, FENCE)).await?;
            let mut take = redis::cmd("SET");
            take.arg(key(layer))
                .arg(format!("{token}:0"))
                .arg("NX")
                .arg("PX")
                .arg(millis(self.0.config.lease_lifetime));
            if connections.ask(take).await? {
                return Ok(Acquired::Held(Box::new(RedisLease {
                    store: Arc::clone(&self.0),
                    layer: *layer,
                    token,
                    released: false,
                })));
            }
        }
        Err(Error::unavailable(
            "others take the lease and give it back all the time",
        ))
    }
}

/// What somebody else has put there.
fn others(value: &[u8]) -> Result<Acquired> {
    if value == GIVEN_UP {
        return Ok(Acquired::GivenUp);
    }
    let holder = std::str::from_utf8(value).ok().and_then(|value| {
        let (token, progress) = value.split_once(':')?;
        Some(LeaseHolder {
            token: token.parse().ok()?,
            progress: progress.parse().ok()?,
        })
    });
    holder
        .map(Acquired::Busy)
        .ok_or_else(|| Error::unavailable("what is stored as the lease is none"))
}

impl RedisLease {
    fn release_request(&self, release: Release) -> Cmd {
        let mut request = script(RELEASE, &key(&self.layer));
        let given_up = match release {
            Release::Free => 0,
            Release::GiveUp => millis(GIVEN_UP_FOR),
        };
        request.arg(format!("{}:", self.token)).arg(given_up);
        request
    }
}

/// A lease protects nothing, so whatever is wrong with it is no fault of the layer.
fn place(store: &Store, error: Error, operation: &'static str, layer: &Digest) -> Error {
    let error = match error.kind() {
        ErrorKind::Corrupt => Error::unavailable(error.message()).caused_by(error),
        _ => error,
    };
    store.place(error, operation, layer)
}

#[async_trait]
impl Leases for RedisLeases {
    async fn acquire(&self, layer: &Digest) -> Result<Acquired> {
        self.acquire(layer)
            .await
            .map_err(|error| place(&self.0, error, "lease", layer))
    }
}

#[async_trait]
impl Lease for RedisLease {
    fn token(&self) -> u64 {
        self.token
    }

    fn lifetime(&self) -> Duration {
        self.store.config.lease_lifetime
    }

    async fn renew(&self, progress: u64) -> Result<bool> {
        let mut request = script(RENEW, &key(&self.layer));
        request
            .arg(format!("{}:", self.token))
            .arg(progress)
            .arg(millis(self.lifetime()));
        let renewed = self.store.connections.ask(request).await;
        renewed.map_err(|error| place(&self.store, error, "renew the lease", &self.layer))
    }

    async fn release(mut self: Box<Self>, release: Release) -> Result<()> {
        let request = self.release_request(release);
        let released = self.store.connections.ask(request).await;
        // Only now: a release that is cancelled is done over in the background.
        self.released = true;
        released.map_err(|error| place(&self.store, error, "release the lease", &self.layer))
    }
}

impl Drop for RedisLease {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let (store, request) = (Arc::clone(&self.store), self.release_request(Release::Free));
            // If it fails, the lease ends by itself.
            runtime.spawn(async move { store.connections.ask::<()>(request).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_that_are_documented() {
        let keys = [key(&Digest::sha256_of(b"a blob")), FENCE.to_owned()];
        assert_eq!(cache_testkit::documented("formats.md", "leases in Redis"), keys);
    }
}

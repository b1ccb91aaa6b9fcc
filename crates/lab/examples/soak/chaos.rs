//! Faults, one after another.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cache_testkit::{Fault, FaultProxy, RedisServer};
use tokio::time::sleep;

/// Everything that can be broken.
#[derive(Debug)]
pub(crate) struct Chaos {
    random: fastrand::Rng,
    redis: RedisServer,
    to_redis: FaultProxy,
    to_s3: FaultProxy,
    cache: PathBuf,
    faults: u64,
}

impl Chaos {
    pub(crate) fn new(
        seed: u64,
        redis: RedisServer,
        to_redis: FaultProxy,
        to_s3: FaultProxy,
        cache: PathBuf,
    ) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self {
            random,
            redis,
            to_redis,
            to_s3,
            cache,
            faults: 0,
        }
    }

    /// One fault for a while, then none for a while.
    pub(crate) async fn strike(&mut self) {
        let moment = Duration::from_millis(self.random.u64(100..1500));
        match self.random.u8(..10) {
            0 => {
                self.redis.kill();
                sleep(moment).await;
                self.redis.restart();
            }
            1 => {
                self.redis.stall();
                sleep(moment).await;
                self.redis.resume();
            }
            2 => self.remove_a_file(),
            number => {
                let fault = self.fault();
                let proxy = if number % 2 == 0 {
                    &self.to_redis
                } else {
                    &self.to_s3
                };
                proxy.set(fault);
                sleep(moment).await;
                proxy.set(Fault::None);
            }
        }
        self.faults += 1;
        sleep(Duration::from_millis(self.random.u64(100..1000))).await;
    }

    fn fault(&mut self) -> Fault {
        let at = self.random.u64(..3_000_000);
        match self.random.u8(..6) {
            0 => Fault::Refuse,
            1 => Fault::Reset,
            2 => Fault::Stall,
            3 => Fault::Delay(Duration::from_millis(self.random.u64(1..30))),
            4 => Fault::CutAfter(at),
            _ => Fault::FlipBit { at },
        }
    }

    /// An operator removes something from the cache directory.
    fn remove_a_file(&mut self) {
        let files: Vec<_> = std::fs::read_dir(&self.cache)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
            .collect();
        if let Some(path) = self.random.choice(files) {
            // Whoever evicts it at the same moment was faster.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Everything is healed; how often it was not.
    pub(crate) fn end(&mut self) -> u64 {
        self.to_redis.set(Fault::None);
        self.to_s3.set(Fault::None);
        self.faults
    }

    pub(crate) fn redis_address(&self) -> SocketAddr {
        self.redis.address()
    }
}

//! A soak: many readers of random images, while everything around them fails and recovers.
//!
//! `cargo xtask soak --minutes N` starts the servers and runs it. It reports what was read, what was survived, and what must be
//! none: wrong bytes, failed reads, leftovers, and memory that grows. It fails if there was any.

mod chaos;
mod images;
mod leftovers;
mod memory;
mod readers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_testkit::{FaultProxy, RedisServer};
use layercache::{Config, Kinds, Stack};
use tempfile::TempDir;

use self::chaos::Chaos;
use self::images::Images;
use self::memory::Memory;
use self::readers::{Counts, Place, READERS};

/// What the cache directory may take: a part of what the images have, so that it evicts all the time.
const MAX_BYTES: u64 = 24 << 20;
/// How often the application starts anew.
const RESTART_EVERY: Duration = Duration::from_secs(30);
const TELL_EVERY: Duration = Duration::from_secs(15);

fn main() {
    let minutes: f64 = std::env::args()
        .nth(1)
        .and_then(|minutes| minutes.parse().ok())
        .expect("how many minutes it is to take");
    let seed = std::env::args()
        .nth(2)
        .map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("seed {seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    // Without a limit: what Redis evicts leaves chunks behind that nobody has leaked.
    let redis = RedisServer::start(&[]);
    let faultless = runtime.block_on(soak(Duration::from_secs_f64(minutes * 60.0), seed, redis));
    runtime.shutdown_timeout(Duration::from_secs(10));
    if !faultless {
        std::process::exit(1);
    }
}

async fn soak(duration: Duration, seed: u64, redis: RedisServer) -> bool {
    fastrand::seed(seed);
    let root = TempDir::new().unwrap();
    let images = Arc::new(Images::create(root.path(), seed));
    let s3: std::net::SocketAddr = variable("S3_ENDPOINT")
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    let (to_redis, to_s3) = (
        FaultProxy::start(redis.address()).await,
        FaultProxy::start(s3).await,
    );
    let toml = configuration(root.path(), &to_redis, &to_s3);
    let stack = || {
        let config = Config::parse(&toml).unwrap();
        Arc::new(Stack::assemble(&config, &Kinds::builtin()).unwrap())
    };
    let place = Arc::new(Place::new(stack()));
    let counts = Arc::new(Counts::default());
    let mut memory = Memory::default();
    let mut chaos = Chaos::new(seed, redis, to_redis, to_s3, root.path().join("cache"));

    let end = Instant::now() + duration;
    let readers: Vec<_> = (0..READERS)
        .map(|number| {
            let (place, images, counts) = (Arc::clone(&place), Arc::clone(&images), Arc::clone(&counts));
            tokio::spawn(readers::run(place, images, counts, seed ^ number, end))
        })
        .collect();
    let (mut restarted, mut told) = (Instant::now(), Instant::now());
    while Instant::now() < end {
        chaos.strike().await;
        let resident = memory.sample();
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            eprintln!("{} reads, {} MiB resident", counts.reads(), resident >> 20);
        }
        if restarted.elapsed() >= RESTART_EVERY {
            restarted = Instant::now();
            // Readers that are open go on with the old one.
            let old = place.replace(stack());
            old.cache().close().await;
            counts.restarted();
        }
    }
    for reader in readers {
        reader.await.unwrap();
    }
    let faults = chaos.end();
    place.get().cache().close().await;
    drop(place);
    let leftovers = leftovers::find(&root.path().join("cache"), MAX_BYTES, chaos.redis_address()).await;
    report(&counts, faults, &leftovers, &memory)
}

fn report(counts: &Counts, faults: u64, leftovers: &[String], memory: &Memory) -> bool {
    let slope = memory.slope();
    println!("reads            {}", counts.reads());
    println!("bytes            {}", counts.bytes());
    println!("cancelled        {}", counts.cancelled());
    println!("restarts         {}", counts.restarts());
    println!("faults survived  {faults}");
    println!("failed reads     {}", counts.failed());
    println!("wrong bytes      {}", counts.wrong());
    println!("leftovers        {}", leftovers.len());
    leftovers.iter().for_each(|leftover| println!("  {leftover}"));
    println!("memory           {} MiB at most", memory.most() >> 20);
    println!("memory slope     {slope:+.2} MiB a minute in the second half");
    let grows = memory.grows();
    if grows {
        println!("memory grows");
    }
    counts.failed() == 0 && counts.wrong() == 0 && leftovers.is_empty() && !grows
}

fn configuration(root: &std::path::Path, redis: &FaultProxy, s3: &FaultProxy) -> String {
    format!(
        "[[tier]]\nkind = \"disk\"\ndir = {:?}\nmax_bytes = {MAX_BYTES}\nmin_free_bytes = 0\n\
         [[tier]]\nkind = \"redis\"\nurl = \"redis://{}\"\ntimeout = \"500ms\"\n\
         [[tier]]\nkind = \"s3\"\nendpoint = \"http://{}\"\nbucket = {:?}\nregion = {:?}\nprefix = \"soak-{}/\"\n\
         access_key_id = {:?}\nsecret_access_key = {:?}\ntimeout = \"1s\"\n",
        root.join("cache"),
        redis.address(),
        s3.address(),
        variable("S3_BUCKET"),
        variable("S3_REGION"),
        std::process::id(),
        variable("S3_ACCESS_KEY_ID"),
        variable("S3_SECRET_ACCESS_KEY"),
    )
}

fn variable(name: &str) -> String {
    let name = format!("LAYERCACHE_TEST_{name}");
    std::env::var(&name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask soak`"))
}

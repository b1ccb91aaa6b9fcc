//! Redis and S3 that fail in every way: whatever they do, what is read is right.

use std::time::Duration;

use cache_testkit::{Fault, FaultProxy, RedisServer};

use super::share::{
    REGISTRY, SmallImage, TIMEOUT, disk, prefix, publish, redis, redis_at, s3, s3_address, s3_at,
};
use crate::registry::{Registry, with};
use crate::sandbox::Sandbox;

/// The tests do their own waiting: a [`Registry`] brings a runtime, which cannot be dropped inside of another.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

/// Faults of a connection, in the middle of a layer and before it.
fn faults() -> Vec<Fault> {
    vec![
        Fault::Refuse,
        Fault::Reset,
        Fault::Stall,
        Fault::Delay(Duration::from_millis(1)),
        Fault::CutAfter(0),
        Fault::CutAfter(200),
        Fault::CutAfter(1_000_000),
        Fault::FlipBit { at: 100 },
        Fault::FlipBit { at: 250_000 },
        Fault::FlipBit { at: 1_500_000 },
    ]
}

#[test]
fn a_faulty_connection_to_redis_costs_no_read() {
    let image = SmallImage::new();
    run(async {
        let server = RedisServer::start(&[]);
        let sandbox = Sandbox::new();
        publish(
            &image,
            &(disk(&sandbox, "first") + &redis(&server.url()) + REGISTRY),
        )
        .await;
        let proxy = FaultProxy::start(server.address()).await;
        for (number, fault) in faults().into_iter().enumerate() {
            proxy.set(fault.clone());
            let toml =
                disk(&sandbox, &format!("disk {number}")) + &redis_at(proxy.address()) + TIMEOUT + REGISTRY;
            let worker = image.worker(&toml).await;
            worker.reads_right(&image).await;
            proxy.set(Fault::None);
            worker.close().await;
        }
        // What was damaged on the way was removed, and written afresh by whoever had to fetch it.
        let worker = image.worker(&(redis(&server.url()) + REGISTRY)).await;
        let inflates_before = image.fetches().iter().sum::<u32>();
        worker.reads_right(&image).await;
        worker.close().await;
        assert_eq!(image.fetches().iter().sum::<u32>(), inflates_before);
    });
}

#[test]
fn a_faulty_connection_to_s3_costs_no_read() {
    let image = SmallImage::new();
    run(async {
        let prefix = prefix();
        let sandbox = Sandbox::new();
        publish(&image, &(disk(&sandbox, "first") + &s3(&prefix) + REGISTRY)).await;
        let proxy = FaultProxy::start(s3_address()).await;
        let through_proxy = s3_at(&format!("http://{}", proxy.address()), &prefix) + TIMEOUT;
        for (number, fault) in faults().into_iter().enumerate() {
            proxy.set(fault.clone());
            let toml = disk(&sandbox, &format!("disk {number}")) + &through_proxy + REGISTRY;
            let worker = image.worker(&toml).await;
            worker.reads_right(&image).await;
            proxy.set(Fault::None);
            worker.close().await;
        }
        let before = image.fetches();
        let worker = image.worker(&(s3(&prefix) + REGISTRY)).await;
        worker.reads_right(&image).await;
        worker.close().await;
        assert_eq!(image.fetches(), before);
    });
}

#[test]
fn redis_may_die_stall_or_forget_between_two_reads() {
    use layercache::core::LayerReaderExt;
    let image = SmallImage::new();
    run(async {
        let mut server = RedisServer::start(&[]);
        let sandbox = Sandbox::new();
        let prefix = prefix();
        let shared = redis(&server.url()) + TIMEOUT;
        publish(
            &image,
            &(disk(&sandbox, "first") + &shared + &s3(&prefix) + REGISTRY),
        )
        .await;
        // Without a disk, every read goes to Redis until that is gone, and then to S3.
        type Blow = fn(&mut RedisServer);
        let blows: [(Blow, Blow); 3] = [
            (RedisServer::restart, |_| {}),
            (|server| server.stall(), |server| server.resume()),
            (RedisServer::kill, RedisServer::restart),
        ];
        for (blow, recover) in blows {
            publish(&image, &(disk(&sandbox, "first") + &shared + REGISTRY)).await;
            let worker = image
                .worker(&(shared.clone() + "fill = \"off\"\n" + &s3(&prefix) + REGISTRY))
                .await;
            let mut open = Vec::new();
            for layer in &worker.layers {
                open.push(worker.stack.open(layer).await.unwrap());
            }
            blow(&mut server);
            for (reader, expected) in open.iter().zip(&image.layers) {
                let read = reader.read_bytes(0, expected.len()).await.unwrap();
                assert!(read == expected[..]);
            }
            worker.reads_right(&image).await;
            assert_eq!(worker.inflates(), 0);
            worker.close().await;
            recover(&mut server);
            let layers = image
                .worker(&(disk(&sandbox, "first") + &shared + REGISTRY))
                .await;
            for layer in &layers.layers {
                layers.stack.cache().publish(layer).await.unwrap();
            }
            layers.close().await;
        }
    });
}

#[test]
fn a_redis_without_room_costs_no_read() {
    for policy in ["noeviction", "allkeys-lru", "allkeys-random"] {
        let image = SmallImage::new();
        run(async {
            let server = RedisServer::start(&["--maxmemory", "3mb", "--maxmemory-policy", policy]);
            let sandbox = Sandbox::new();
            for name in ["first", "second", "third"] {
                let toml = disk(&sandbox, name) + &redis(&server.url()) + REGISTRY;
                let worker = image.worker(&toml).await;
                worker.reads_right(&image).await;
                worker.close().await;
            }
            let worker = image.worker(&(redis(&server.url()) + REGISTRY)).await;
            worker.reads_right(&image).await;
            worker.close().await;
        });
    }
}

#[test]
fn an_s3_that_answers_with_errors_costs_no_read() {
    for code in [500, 503, 403, 404, 200] {
        let image = SmallImage::new();
        let broken = Registry::start(move |_| with(code, &[], "<Error><Code>SlowDown</Code></Error>"));
        run(async {
            let sandbox = Sandbox::new();
            let prefix = prefix();
            publish(&image, &(disk(&sandbox, "first") + &s3(&prefix) + REGISTRY)).await;
            let proxy = FaultProxy::start(s3_address()).await;
            let endpoint = format!("http://{}", proxy.address());
            let toml = disk(&sandbox, "second") + &s3_at(&endpoint, &prefix) + TIMEOUT + REGISTRY;
            let worker = image.worker(&toml).await;
            // It breaks after the first layer was read from it.
            let reader = worker.stack.open(&worker.layers[0]).await.unwrap();
            proxy.retarget(broken.host().parse().unwrap());
            proxy.cut();
            drop(reader);
            worker.reads_right(&image).await;
            worker.close().await;
        });
    }
}

#[test]
fn a_dead_redis_is_asked_no_more_until_it_has_had_time_to_recover() {
    let image = SmallImage::new();
    run(async {
        let server = RedisServer::start(&[]);
        let proxy = FaultProxy::start(server.address()).await;
        proxy.set(Fault::Stall);
        let sandbox = Sandbox::new();
        let toml = redis_at(proxy.address()) + "timeout = \"200ms\"\n" + &disk(&sandbox, "disk") + REGISTRY;
        let worker = image.worker(&toml).await;
        worker.reads_right(&image).await;
        let connections = proxy.traffic().connections;
        for _ in 0..20 {
            worker.reads_right(&image).await;
        }
        assert_eq!(proxy.traffic().connections, connections);
        let counts = worker.report("redis").counts;
        assert!(counts.unavailable >= 60, "{counts:?}");
        assert_eq!(worker.inflates(), 3);
        worker.close().await;
    });
}

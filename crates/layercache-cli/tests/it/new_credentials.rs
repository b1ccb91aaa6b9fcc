//! Credentials that change while a stack lives: what a `*_file` key names is read again.

use std::time::Duration;

use cache_testkit::RedisServer;
use layercache::core::{ErrorKind, LayerReaderExt, Result};

use crate::environment;
use crate::remote::share::{REGISTRY, SmallImage, Worker, disk, prefix, publish, redis, s3};
use crate::sandbox::Sandbox;

/// The tests do their own waiting: a [`Registry`](crate::registry::Registry) brings a runtime, which cannot be dropped inside of another.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(test);
}

/// The first bytes of the base layer, from the shared tier.
async fn read(worker: &Worker) -> Result<Vec<u8>> {
    let reader = worker.stack.open(&worker.layers[0]).await?;
    Ok(reader.read_bytes(0, 512).await?.to_vec())
}

/// Reads until it succeeds: how soon a file is looked at again is the stack's business, that it is must not need a restart.
async fn read_in_the_end(worker: &Worker) -> Vec<u8> {
    let reading = async {
        loop {
            match read(worker).await {
                Ok(bytes) => return bytes,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), reading)
        .await
        .expect("what stands in the file is never taken")
}

/// A worker that has one shared tier alone: what it reads comes from there, or the read fails.
async fn worker(image: &SmallImage, shared: &str) -> Worker {
    let mut worker = image.worker(REGISTRY).await;
    let config = layercache::Config::parse(shared).unwrap();
    worker.stack = layercache::Stack::assemble(&config, &layercache::Kinds::builtin()).unwrap();
    worker
}

#[test]
fn s3_takes_the_key_that_the_file_has_now() {
    let image = SmallImage::new();
    run(async {
        let (sandbox, prefix, server) = (Sandbox::new(), prefix(), environment::s3());
        publish(&image, &(disk(&sandbox, "disk") + &s3(&prefix) + REGISTRY)).await;

        let id = sandbox.write("id", server.access_key_id);
        let key = sandbox.write("key", "not-the-key\n");
        let shared = format!(
            "[[tier]]\nkind = \"s3\"\nendpoint = {:?}\nprefix = {prefix:?}\nbucket = {:?}\nregion = {:?}\n\
             access_key_id_file = {id:?}\nsecret_access_key_file = {key:?}\n",
            server.endpoint, server.bucket, server.region
        );
        let worker = worker(&image, &shared).await;
        let refused = read(&worker).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Permanent, "{refused}");
        assert!(!format!("{refused} {refused:?} {:?}", worker.stack).contains("not-the-key"));

        std::fs::write(&key, format!("{}\n", server.secret_access_key)).unwrap();
        assert!(read_in_the_end(&worker).await == image.layers[0][..512]);
        // A file that is gone for a moment, as in the middle of a replacement, changes nothing.
        std::fs::remove_file(&key).unwrap();
        for _ in 0..3 {
            assert!(read(&worker).await.unwrap() == image.layers[0][..512]);
        }
    });
}

#[test]
fn redis_takes_the_password_that_the_file_has_when_it_connects() {
    let image = SmallImage::new();
    run(async {
        let server = RedisServer::start(&["--user", "worker", "on", ">first", "~*", "+@all"]);
        let sandbox = Sandbox::new();
        publish(
            &image,
            &(disk(&sandbox, "disk") + &redis(&server.url()) + REGISTRY),
        )
        .await;
        let url = |password: &str| format!("redis://worker:{password}@{}\n", server.address());
        let file = sandbox.write("url", url("first"));
        let worker = worker(
            &image,
            &format!("[[tier]]\nkind = \"redis\"\nurl_file = {file:?}\n"),
        )
        .await;
        assert!(read(&worker).await.unwrap() == image.layers[0][..512]);

        let mut admin = ::redis::Client::open(server.url())
            .unwrap()
            .get_connection()
            .unwrap();
        let mut change = ::redis::cmd("ACL");
        change.arg(&["SETUSER", "worker", "resetpass", ">second"]);
        change.query::<()>(&mut admin).unwrap();
        // Connections outlive the password that they were made with.
        let mut end = ::redis::cmd("CLIENT");
        end.arg(&["KILL", "USER", "worker"]);
        end.query::<()>(&mut admin).unwrap();
        let refused = read(&worker).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Permanent, "{refused}");
        assert!(refused.to_string().contains("password"), "{refused}");

        std::fs::write(&file, url("second")).unwrap();
        assert!(read_in_the_end(&worker).await == image.layers[0][..512]);

        // What cannot be right is said without what it is, and mended as well.
        std::fs::write(&file, "http://worker:hunter2@nowhere\n").unwrap();
        let wrong = refused_in_the_end(&worker, || end.query::<()>(&mut admin).unwrap()).await;
        assert!(
            wrong.contains("redis://") && !wrong.contains("hunter2"),
            "{wrong}"
        );
        std::fs::write(&file, url("second")).unwrap();
        assert!(read_in_the_end(&worker).await == image.layers[0][..512]);
    });
}

/// A connection to a cluster makes those to its nodes by itself, long after it was made.
#[test]
fn a_cluster_is_told_the_new_password_as_well() {
    let image = SmallImage::new();
    run(async {
        let nodes = environment::redis_cluster();
        let nodes: Vec<_> = nodes
            .split(',')
            .map(|node| node.strip_prefix("redis://").unwrap())
            .collect();
        let user = format!("worker-{}", std::process::id());
        let sandbox = Sandbox::new();
        let urls = |password: &str| {
            let urls = nodes
                .iter()
                .map(|node| format!("redis://{user}:{password}@{node}\n"));
            urls.collect::<String>()
        };
        let on_all = |command: &str, arguments: &[&str]| {
            for node in &nodes {
                let client = ::redis::Client::open(format!("redis://{node}")).unwrap();
                let mut request = ::redis::cmd(command);
                request.arg(arguments);
                request
                    .query::<()>(&mut client.get_connection().unwrap())
                    .unwrap();
            }
        };
        on_all("ACL", &["SETUSER", &user, "on", ">first", "~*", "+@all"]);
        let file = sandbox.write("urls", urls("first"));
        let shared = format!("[[tier]]\nkind = \"redis\"\nurl_file = {file:?}\nttl = \"1h\"\n");
        publish(&image, &(disk(&sandbox, "disk") + &shared + REGISTRY)).await;
        let worker = worker(&image, &shared).await;
        assert!(read(&worker).await.unwrap() == image.layers[0][..512]);

        on_all("ACL", &["SETUSER", &user, "resetpass", ">second"]);
        on_all("CLIENT", &["KILL", "USER", &user]);
        read(&worker).await.unwrap_err();
        std::fs::write(&file, urls("second")).unwrap();
        assert!(read_in_the_end(&worker).await == image.layers[0][..512]);
        on_all("ACL", &["DELUSER", &user]);
    });
}

/// Reads until that fails, each time over a new connection.
async fn refused_in_the_end(worker: &Worker, mut disconnect: impl FnMut()) -> String {
    let reading = async {
        loop {
            disconnect();
            match read(worker).await {
                Err(error) if error.kind() == ErrorKind::Permanent => return format!("{error} {error:?}"),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(120), reading).await;
    refused.expect("what stands in the file is never taken")
}

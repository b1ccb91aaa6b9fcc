//! Redis and S3 that are down, refuse or have something wrong.

use cache_testkit::{Fault, FaultProxy, RedisServer};
use layercache::core::{ByteStream, Digest, Error, LayerDescriptor};
use layercache::{Answer, Config, Finding, Kinds, Stack};
use redis::Commands;

use super::Row;
use crate::environment;
use crate::registry::{Registry, with};
use crate::remote::share::{REGISTRY, SmallImage};
use crate::remote::share::{Worker, prefix, redis, redis_at, s3_at};

pub(super) fn rows() -> Vec<Row> {
    let (image, refusals) = (SmallImage::new(), refusals());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut rows = of_redis().await;
        rows.extend(of_layers_in_redis(&image).await);
        rows.extend(of_s3(&refusals).await);
        rows
    })
}

fn assemble(toml: &str) -> Stack {
    Stack::assemble(&Config::parse(toml).unwrap(), &Kinds::builtin()).unwrap()
}

/// What the first tier answers when it is asked whether it can be used.
async fn check(situation: &'static str, toml: &str) -> Row {
    let checked = assemble(toml).check().await;
    match &checked[0].answer {
        Answer::Failed(error) => Row::of_tier(situation, error),
        answer => panic!("{situation}: {answer:?}"),
    }
}

/// Why the first tier is passed over.
async fn passed_over(situation: &'static str, stack: &Stack, layer: &LayerDescriptor) -> Row {
    let explained = stack.explain(layer).await;
    match &explained.asked[0].finding {
        Finding::Failed(error) => Row::of_layer(situation, error),
        finding => panic!("{situation}: {finding:?}"),
    }
}

async fn of_redis() -> Vec<Row> {
    let server = RedisServer::start(&["--requirepass", "hunter2hunter2"]);
    let at = server.address();
    let mut client = redis::Client::open(format!("redis://:hunter2hunter2@{at}")).unwrap();
    let acl = ["SETUSER", "reader", "on", ">hunter2", "~*", "+@connection"];
    redis::cmd("ACL").arg(&acl).exec(&mut client).unwrap();
    let layer = LayerDescriptor::new(Digest::sha256_of(b"blob")).with_diff_id(Digest::sha256_of(b"tar"));
    let proxy = FaultProxy::start(at).await;
    proxy.set(Fault::Stall);
    let stalled = redis_at(proxy.address()) + "timeout = \"200ms\"\n";
    let opened = assemble(&stalled);
    for _ in 0..3 {
        opened.explain(&layer).await;
    }
    // Asked at once: after a while the breaker would let the next one try again.
    let left_alone = passed_over("Redis has failed three times in a row", &opened, &layer).await;
    let reader = assemble(&redis(&format!("redis://reader:hunter2@{at}")));
    vec![
        check("Redis is not there", &redis("redis://127.0.0.1:1")).await,
        check("Redis does not answer", &stalled).await,
        check("Redis wants a password", &redis(&format!("redis://{at}"))).await,
        check(
            "Redis refuses the password",
            &redis(&format!("redis://:hunter2@{at}")),
        )
        .await,
        passed_over("Redis does not let the user read", &reader, &layer).await,
        left_alone,
    ]
}

/// Seals of layers, by a key that others have.
const KEY: &str = "seal_key = \"hunter2-hunter2-hunter2\"\n";

async fn of_layers_in_redis(image: &SmallImage) -> Vec<Row> {
    let server = RedisServer::start(&[]);
    let mut client = redis::Client::open(server.url()).unwrap();
    let tier = redis(&server.url());
    let worker = image.worker(&(tier.clone() + REGISTRY)).await;
    for layer in &worker.layers {
        worker.stack.bring(layer).await.unwrap();
    }
    worker.close().await;
    let [first, second, third] = [0, 1, 2].map(|layer| worker.layers[layer].clone());
    let nameless = LayerDescriptor::new(first.digest);
    let mut other = first.clone();
    other.diff_id = Some(Digest::sha256_of(b"another layer"));
    let key =
        |layer: &LayerDescriptor, part: &str| format!("clip:oci:layer:decompressed:{}:{part}", layer.digest);

    let mut rows = vec![
        passed_over(
            "an image that tells no diff ID, and no seal",
            &assemble(&tier),
            &nameless,
        )
        .await,
        passed_over(
            "an image and an index that contradict each other",
            &assemble(&tier),
            &other,
        )
        .await,
        passed_over(
            "an index that is sealed by another key",
            &assemble(&(tier.clone() + KEY)),
            &first,
        )
        .await,
    ];
    let chunk: Vec<u8> = client.get(key(&first, "0")).unwrap();
    let _: () = client.set(key(&first, "0"), &chunk[1..]).unwrap();
    rows.push(read("a chunk that was cut", &tier, &first).await);
    let mut damaged = chunk.clone();
    damaged[1000] ^= 1;
    let _: () = client.set(key(&first, "0"), damaged).unwrap();
    rows.push(read("a chunk that was damaged", &tier, &first).await);

    let reader = assemble(&(tier.clone() + "read_only = true\n"))
        .open(&second)
        .await
        .unwrap();
    let _: () = client.del(key(&second, "1")).unwrap();
    rows.push(Row::of_layer(
        "a chunk that Redis has evicted meanwhile",
        &ended(reader.stream(0)).await,
    ));

    let index: Vec<u8> = client.get(key(&third, "index")).unwrap();
    for (situation, at, byte) in [
        ("an index of another version", 8, 2),
        ("an index that was damaged", 160, 0xff),
        ("something else under the key of an index", 0, b'?'),
    ] {
        let mut damaged = index.clone();
        damaged[at] = byte;
        let _: () = client.set(key(&third, "index"), damaged).unwrap();
        rows.push(passed_over(situation, &assemble(&tier), &third).await);
    }
    let _: () = client.del(key(&third, "index")).unwrap();
    let _: () = client.lpush(key(&third, "index"), "x").unwrap();
    rows.push(passed_over("a list under the key of an index", &assemble(&tier), &third).await);

    let shared = RedisServer::start(&[]);
    let short = redis(&shared.url()).replace("kind", "name = \"other\"\nmax_layer_bytes = 1000\nkind");
    rows.push(
        published(
            "a layer that is too long for Redis",
            &image.worker(&(tier.clone() + &short + REGISTRY)).await,
        )
        .await,
    );
    let full = RedisServer::start(&["--maxmemory", "2mb", "--maxmemory-policy", "noeviction"]);
    let full = redis(&full.url()).replace("kind", "name = \"other\"\nkind");
    rows.push(
        published(
            "Redis has no memory left",
            &image.worker(&(tier + &full + REGISTRY)).await,
        )
        .await,
    );
    rows
}

/// What a read of the layer through one tier alone ends with.
async fn read(situation: &'static str, toml: &str, layer: &LayerDescriptor) -> Row {
    // Only read, or what is wrong would be removed.
    let stack = assemble(&(toml.to_owned() + "read_only = true\n"));
    let reader = stack.open(layer).await.unwrap();
    Row::of_layer(situation, &ended(reader.stream(0)).await)
}

async fn ended(mut bytes: ByteStream) -> Error {
    use futures_util::StreamExt;
    loop {
        if let Err(error) = bytes.next().await.expect("the stream should fail") {
            return error;
        }
    }
}

/// What publishing the second layer to the tier `other` ends with.
async fn published(situation: &'static str, worker: &Worker) -> Row {
    worker.stack.bring(&worker.layers[1]).await.unwrap();
    let published = worker.stack.cache().publish(&worker.layers[1]).await.unwrap();
    let other = published
        .into_iter()
        .find(|publication| publication.tier == "other")
        .unwrap();
    Row::of_layer(situation, &other.written.unwrap_err())
}

/// An S3 that answers everything with this error.
fn refusing(status: u16, headers: &'static [(&'static str, &'static str)], code: &'static str) -> Registry {
    Registry::start(move |_| {
        let body = format!("<Error><Code>{code}</Code><Message>No.</Message></Error>");
        with(status, headers, body)
    })
}

/// The same, as an operator meets them. A [`Registry`] brings a runtime, which cannot be dropped inside of another.
fn refusals() -> Vec<(&'static str, Registry)> {
    let region = &[("x-amz-bucket-region", "eu-north-1")];
    vec![
        ("no such bucket", refusing(404, &[], "NoSuchBucket")),
        (
            "a key that nobody knows",
            refusing(403, &[], "InvalidAccessKeyId"),
        ),
        (
            "a secret that is wrong",
            refusing(403, &[], "SignatureDoesNotMatch"),
        ),
        (
            "credentials that may not read the bucket",
            refusing(403, &[], "AccessDenied"),
        ),
        (
            "a clock that is wrong",
            refusing(403, &[], "RequestTimeTooSkewed"),
        ),
        (
            "a bucket in another region",
            refusing(301, region, "PermanentRedirect"),
        ),
        (
            "an S3 that wants to be left alone",
            refusing(503, &[], "SlowDown"),
        ),
    ]
}

async fn of_s3(refusals: &[(&'static str, Registry)]) -> Vec<Row> {
    let server = environment::s3().endpoint;
    let stalled = FaultProxy::start(server.strip_prefix("http://").unwrap().parse().unwrap()).await;
    stalled.set(Fault::Stall);
    let stalled = s3_at(&format!("http://{}", stalled.address()), &prefix()) + "timeout = \"200ms\"\n";
    let mut rows = vec![
        check("S3 is not there", &s3_at("http://127.0.0.1:1", &prefix())).await,
        check("S3 does not answer", &stalled).await,
    ];
    for (situation, server) in refusals {
        rows.push(check(situation, &s3_at(&format!("http://{}", server.host()), &prefix())).await);
    }
    rows
}

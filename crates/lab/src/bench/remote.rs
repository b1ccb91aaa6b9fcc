//! Layers that other workers have put into Redis or S3.

use std::cell::Cell;
use std::fmt::Display;

use anyhow::{Result, ensure};

use super::layers::first_read;
use super::row::{Pair, Row};
use super::setup::Setup;
use crate::servers::s3;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "s3-first",
            ours: "4 KiB at 90 % of a layer that only S3 has, from the start of the process",
            reference: "one ranged GET with `curl`",
            goal: 2.0,
            prepare: s3_first,
        },
        Row {
            name: "s3-fill",
            ours: "layer from S3 to a verified, synced disk file",
            reference: "`curl` GET to a file",
            goal: 1.15,
            prepare: s3_fill,
        },
        Row {
            name: "redis-fill",
            ours: "layer from Redis to a verified, synced disk file",
            reference: "the redis crate alone, pipelined GETs, to a file",
            goal: 1.15,
            prepare: redis_fill,
        },
        Row {
            name: "push",
            ours: "write-back of the layer to S3",
            reference: "`aws s3 cp` of the file",
            goal: 1.0,
            prepare: push,
        },
    ]
}

const PREFIX: &str = "bench/";

/// Copies the largest layer from the directory `warm` to the tier.
fn publish(setup: &Setup, tier: &str) -> Result<f64> {
    let config = setup.config("publish", &[&setup.disk("warm"), tier])?;
    let (image, number) = (setup.layout("gzip"), setup.largest("gzip").number);
    let figures = setup.work(
        "publish",
        &[("config", &config), ("image", &image), ("layer", &number)],
    )?;
    Ok(figures.process_seconds)
}

/// `curl`, up to the URL of the largest layer in S3.
fn curl(setup: &Setup, more: &str) -> String {
    let object = format!("{PREFIX}{}", setup.largest("gzip").key()).replace(':', "%3A");
    format!(
        "curl --silent --fail --aws-sigv4 aws:amz:{}:s3 --header x-amz-content-sha256:UNSIGNED-PAYLOAD \
         --user {}:{} {more} {}/{}/{object}",
        s3::REGION,
        s3::ACCESS_KEY_ID,
        s3::SECRET_ACCESS_KEY,
        setup.servers.s3().endpoint(),
        s3::BUCKET,
    )
}

/// The layer is in S3, whichever row comes first.
fn ensure_published_to_s3(setup: &Setup) -> Result<()> {
    if !setup.path("published-to-s3").exists() {
        publish(setup, &setup.s3(PREFIX, ""))?;
        std::fs::write(setup.path("published-to-s3"), "")?;
    }
    Ok(())
}

fn s3_first(setup: &Setup) -> Result<Pair<'_>> {
    ensure_published_to_s3(setup)?;
    let layer = setup.largest("gzip");
    let offset = (layer.len as f64 * 0.9) as u64;
    let line = curl(
        setup,
        &format!("--range {offset}-{} --output /dev/null", offset + 4095),
    );
    Pair::new(
        move || {
            setup.clear("cold")?;
            let config = setup.config("s3", &[&setup.disk("cold"), &setup.s3(PREFIX, "")])?;
            first_read(setup, &config, &setup.layout("gzip"), layer, 0.9)
        },
        move || setup.time_shell(&line),
    )
}

/// From a tier to an empty directory.
fn fill(setup: &Setup, tier: &str) -> Result<f64> {
    setup.clear("cold")?;
    let config = setup.config("fill", &[&setup.disk("cold"), tier])?;
    let (image, number) = (setup.layout("gzip"), setup.largest("gzip").number);
    let figures = setup.work(
        "fill",
        &[("config", &config), ("image", &image), ("layer", &number)],
    )?;
    ensure!(figures.inflates == 0, "{} inflates", figures.inflates);
    Ok(figures.process_seconds)
}

fn s3_fill(setup: &Setup) -> Result<Pair<'_>> {
    ensure_published_to_s3(setup)?;
    let line = curl(setup, &format!("--output {}", setup.path("file").display()));
    Pair::new(
        move || fill(setup, &setup.s3(PREFIX, "fill = \"inline\"\n")),
        move || {
            setup.clear("file")?;
            setup.time_shell(&line)
        },
    )
}

fn redis_fill(setup: &Setup) -> Result<Pair<'_>> {
    publish(setup, &setup.redis(""))?;
    let layer = setup.largest("gzip");
    Pair::new(
        move || fill(setup, &setup.redis("fill = \"inline\"\n")),
        move || {
            setup.clear("file")?;
            let (url, key, to) = (setup.servers.redis().alone(), layer.key(), setup.path("file"));
            let options: [(&str, &dyn Display); 4] = [
                ("url", &url),
                ("key", &key),
                ("len", &layer.len),
                ("to", &to.display()),
            ];
            Ok(setup.work("redis", &options)?.process_seconds)
        },
    )
}

fn push(setup: &Setup) -> Result<Pair<'_>> {
    let layer = setup.largest("gzip");
    let aws = format!("aws --endpoint-url {} s3", setup.servers.s3().endpoint());
    let delete = move |aws: &str| -> Result<()> {
        setup.time_shell(&format!("{aws} rm --quiet --recursive s3://{}/push/", s3::BUCKET))?;
        setup.settle()
    };
    let file = setup.warm_file(&layer.digest);
    let copy = format!(
        "{aws} cp --quiet {} s3://{}/push/layer",
        file.display(),
        s3::BUCKET
    );
    let ours = aws.clone();
    // A layer that is there is not written again.
    let pushed = Cell::new(0);
    Pair::new(
        move || {
            pushed.set(pushed.get() + 1);
            let took = publish(setup, &setup.s3(&format!("push/{}/", pushed.get()), ""))?;
            delete(&ours)?;
            Ok(took)
        },
        move || {
            let took = setup.time_shell(&copy)?;
            delete(&aws)?;
            Ok(took)
        },
    )
}

//! Layers and images that are not there yet.

use anyhow::{Result, ensure};

use super::containerd::Containerd;
use super::row::{Pair, Row};
use super::setup::{Layer, Setup};

/// Reads of one cold layer in `old-way`.
const READS: u64 = 50;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "cold-layer",
            ours: "registry → verified, synced, readable file, largest gzip layer",
            reference: "`curl blob \\| igzip -dc > file`, unverified, not synced",
            goal: 1.10,
            prepare: |setup| cold(setup, "gzip", "igzip -dc"),
        },
        Row {
            name: "cold-zstd",
            ours: "the same, zstd layer",
            reference: "`curl blob \\| zstd -dc > file`, unverified, not synced",
            goal: 1.25,
            prepare: |setup| cold(setup, "zstd", "zstd -dc"),
        },
        Row {
            name: "cold-image",
            ours: "`layercache pull` of the image into an empty directory",
            reference: "`ctr images pull` (overlayfs) of the same image",
            goal: 0.20,
            prepare: cold_image,
        },
        Row {
            name: "old-way",
            ours: "50 reads of a cold layer, with its one inflate",
            reference: "50 reads, registry alone: 50 inflates",
            goal: 1.0 / 43.0,
            prepare: old_way,
        },
        Row {
            name: "first-byte",
            ours: "4 KiB at 10 % of a cold layer, `early_reads`",
            reference: "full fill of that layer",
            goal: 0.15,
            prepare: first_byte,
        },
        Row {
            name: "stampede",
            ours: "1,000 tasks open and read one cold layer: 1 inflate",
            reference: "one task",
            goal: 1.10,
            prepare: stampede,
        },
    ]
}

/// The workload with a directory that is empty at first.
fn fill(setup: &Setup, tag: &str, layer: &Layer) -> Result<f64> {
    setup.clear("cold")?;
    let config = setup.config("cold", &[&setup.disk("cold"), &setup.registry()])?;
    let image = setup.image(tag);
    let figures = setup.work(
        "fill",
        &[("config", &config), ("image", &image), ("layer", &layer.number)],
    )?;
    ensure!(figures.inflates == 1, "{} inflates", figures.inflates);
    Ok(figures.process_seconds)
}

fn cold<'a>(setup: &'a Setup, tag: &'static str, inflate: &'static str) -> Result<Pair<'a>> {
    let layer = setup.largest(tag);
    let line = format!(
        "curl --silent --fail {} | {inflate} > {}",
        setup.blob_url(layer),
        setup.path("file").display()
    );
    Pair::new(
        move || fill(setup, tag, layer),
        move || {
            setup.clear("file")?;
            setup.time_shell(&line)
        },
    )
}

fn cold_image(setup: &Setup) -> Result<Pair<'_>> {
    let image = setup.image("gzip");
    let ours = image.clone();
    Pair::new(
        move || {
            setup.clear("cold")?;
            let config = setup.config("cold", &[&setup.disk("cold"), &setup.registry()])?;
            setup.time_binary(["--config", &config, "pull", &ours])
        },
        move || {
            setup.clear("containerd")?;
            let containerd = Containerd::start(&setup.path("containerd"))?;
            setup.time_shell(&containerd.pull(&image))
        },
    )
}

fn old_way(setup: &Setup) -> Result<Pair<'_>> {
    let layer = setup.base("gzip");
    let read = move |config: &str, inflates: u64| {
        let image = setup.image("gzip");
        let figures = setup.work(
            "again",
            &[
                ("config", &config),
                ("image", &image),
                ("layer", &layer.number),
                ("times", &READS),
                ("len", &layer.len),
            ],
        )?;
        ensure!(figures.inflates == inflates, "{} inflates", figures.inflates);
        Ok(figures.process_seconds)
    };
    Pair::new(
        move || {
            setup.clear("cold")?;
            let config = setup.config("cold", &[&setup.disk("cold"), &setup.registry()])?;
            read(&config, 1)
        },
        move || {
            let config = setup.config("alone", &[&setup.registry()])?;
            read(&config, READS)
        },
    )
}

fn first_byte(setup: &Setup) -> Result<Pair<'_>> {
    let layer = setup.largest("gzip");
    Pair::new(
        move || {
            setup.clear("cold")?;
            let early = "early_reads = true\n";
            let config = setup.config("early", &[early, &setup.disk("cold"), &setup.registry()])?;
            first_read(setup, &config, &setup.image("gzip"), layer, 0.1)
        },
        move || fill(setup, "gzip", layer),
    )
}

/// Seconds until 4 KiB at a part of the layer's length are read.
pub(super) fn first_read(setup: &Setup, config: &str, image: &str, layer: &Layer, at: f64) -> Result<f64> {
    let figures = setup.work(
        "first",
        &[
            ("config", &config),
            ("image", &image),
            ("layer", &layer.number),
            ("at", &at),
            ("len", &layer.len),
        ],
    )?;
    Ok(figures.seconds)
}

fn stampede(setup: &Setup) -> Result<Pair<'_>> {
    let layer = setup.base("gzip");
    let tasks = move |tasks: u64| {
        setup.clear("cold")?;
        let config = setup.config("cold", &[&setup.disk("cold"), &setup.registry()])?;
        let image = setup.image("gzip");
        let figures = setup.work(
            "stampede",
            &[
                ("config", &config),
                ("image", &image),
                ("layer", &layer.number),
                ("tasks", &tasks),
                ("len", &layer.len),
            ],
        )?;
        ensure!(figures.inflates == 1, "{} inflates", figures.inflates);
        Ok(figures.seconds)
    };
    Pair::new(move || tasks(1000), move || tasks(1))
}

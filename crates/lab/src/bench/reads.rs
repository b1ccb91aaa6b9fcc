//! Reads of layers that are there.

use std::fmt::Display;
use std::fs;

use anyhow::{Result, ensure};

use super::row::{Pair, Row};
use super::setup::Setup;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "warm-4k",
            ours: "`read_at` 4 KiB random, page cache warm",
            reference: "bare `pread` loop on the same file",
            goal: 1.25,
            prepare: |setup| reads(setup, "random", 4 << 10, 1_000_000, [1, 1], false),
        },
        Row {
            name: "warm-1m",
            ours: "sequential 1 MiB reads",
            reference: "bare `pread` loop",
            goal: 1.05,
            prepare: |setup| reads(setup, "sequential", 1 << 20, 5_000, [1, 1], false),
        },
        Row {
            name: "warm-64",
            ours: "64 tasks random 64 KiB",
            reference: "the same with 2 threads of `pread`",
            goal: 1.15,
            prepare: |setup| reads(setup, "random", 64 << 10, 128_000, [64, 2], false),
        },
        Row {
            name: "uncached-4k",
            ours: "random 4 KiB, page cache dropped",
            reference: "`pread`, the same",
            goal: 1.25,
            prepare: |setup| reads(setup, "random", 4 << 10, 4_000, [1, 1], true),
        },
        Row {
            name: "open-warm",
            ours: "`open` and first 4 KiB, warm",
            reference: "`open(2)` and `pread`",
            goal: 3.0,
            prepare: opens,
        },
        Row {
            name: "start-10k",
            ours: "start and first read, 10,000 layers in the directory",
            reference: "the same with 10",
            goal: 1.5,
            prepare: start,
        },
    ]
}

/// `count` reads of `len` bytes by as many readers, ours and the reference's. The figures are those of one read.
fn reads<'a>(
    setup: &'a Setup,
    order: &'static str,
    len: u64,
    count: u64,
    readers: [u64; 2],
    uncached: bool,
) -> Result<Pair<'a>> {
    let read = move |via: &'static str, readers: u64| read(setup, via, order, len, count, readers, uncached);
    Pair::new(
        move || read("layer", readers[0]),
        move || read("pread", readers[1]),
    )
}

/// One run of it: seconds a read.
pub(super) fn read(
    setup: &Setup,
    via: &str,
    order: &str,
    len: u64,
    count: u64,
    readers: u64,
    uncached: bool,
) -> Result<f64> {
    let config = setup.config("warm", &[&setup.disk("warm")])?;
    let (image, number) = (setup.layout("gzip"), setup.largest("gzip").number);
    let mut options: Vec<(&str, &dyn Display)> = vec![
        ("config", &config),
        ("image", &image),
        ("layer", &number),
        ("via", &via),
        ("order", &order),
        ("len", &len),
        ("count", &count),
        ("readers", &readers),
    ];
    options.extend(uncached.then_some(("uncached", &"" as &dyn Display)));
    Ok(setup.work("read", &options)?.seconds / count as f64)
}

fn opens(setup: &Setup) -> Result<Pair<'_>> {
    const COUNT: u64 = 50_000;
    let open = move |via: &'static str| {
        let config = setup.config("warm", &[&setup.disk("warm")])?;
        let image = setup.layout("gzip");
        let figures = setup.work(
            "open",
            &[
                ("config", &config),
                ("image", &image),
                ("layer", &0),
                ("via", &via),
                ("count", &COUNT),
            ],
        )?;
        Ok(figures.seconds / COUNT as f64)
    };
    Pair::new(move || open("layer"), move || open("pread"))
}

fn start(setup: &Setup) -> Result<Pair<'_>> {
    let populated = |name: &'static str, count: u64| -> Result<_> {
        let config = setup.config(name, &[&setup.disk(name)])?;
        let image = setup.layout("gzip");
        let fill = setup.work("fill", &[("config", &config), ("image", &image), ("layer", &1)])?;
        ensure!(fill.inflates == 1, "{} inflates", fill.inflates);
        let dir = setup.path(name).to_string_lossy().into_owned();
        setup.work("populate", &[("dir", &dir), ("count", &(count - 1))])?;
        let files = fs::read_dir(&dir)?.count() as u64;
        ensure!(files >= 2 * count, "{files} files in {dir}");
        Ok(move || {
            let options: [(&str, &dyn Display); 3] = [("config", &config), ("image", &image), ("layer", &1)];
            Ok(setup.work("start", &options)?.seconds)
        })
    };
    Pair::new(populated("many", 10_000)?, populated("few", 10)?)
}

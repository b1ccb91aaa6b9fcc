//! How much memory the process has had resident at most (`VmHWM`), with every feature compiled in.

use std::fmt::Write as _;

use anyhow::Result;

use super::image::Image;
use super::setup::{SLICE_LEN, SLICES, Setup};

pub(super) const NAME: &str = "memory";

/// What any of them may take, in bytes.
const GOAL: u64 = 32 << 20;
/// Repeated as often, the longest layer has more than 4 GiB.
const FOUR_GIB: u64 = 4 << 30;

pub(super) struct Peak {
    what: String,
    bytes: u64,
}

pub(super) fn measure(setup: &Setup) -> Result<Vec<Peak>> {
    let largest = setup.largest("gzip");
    let mut peaks = Vec::new();
    let mut peak = |what: String, image: &str| -> Result<()> {
        setup.clear("cold")?;
        let config = setup.config("cold", &[&setup.disk("cold"), &setup.registry()])?;
        let figures = setup.work("fill", &[("config", &config), ("image", &image)])?;
        peaks.push(Peak {
            what,
            bytes: figures.peak_rss_bytes,
        });
        Ok(())
    };
    peak(
        "pull of the image, gzip, from the registry".to_owned(),
        &setup.image("gzip"),
    )?;
    peak(
        "pull of the image, zstd, from the registry".to_owned(),
        &setup.image("zstd"),
    )?;
    let times = FOUR_GIB.div_ceil(largest.len);
    let long = repeated(setup, times)?;
    let gib = (largest.len * times) as f64 / f64::from(1 << 30);
    peak(format!("pull of one layer of {gib:.1} GiB"), &long.reference())?;
    setup.clear("repeated")?;
    let slices = setup.slices()?;
    let short = SLICE_LEN >> 20;
    peak(
        format!("pull of {SLICES} layers of {short} MiB"),
        &slices.reference(),
    )?;
    let config = setup.config("cold", &[&setup.disk("cold")])?;
    let readers = setup.work(
        "read",
        &[
            ("config", &config),
            ("image", &slices.reference()),
            ("via", &"layer"),
            ("order", &"random"),
            ("len", &65536),
            ("count", &64000),
            ("readers", &64),
        ],
    )?;
    peaks.push(Peak {
        what: format!("64 readers on {SLICES} layers"),
        bytes: readers.peak_rss_bytes,
    });
    Ok(peaks)
}

pub(super) fn table(peaks: &[Peak]) -> String {
    let mut table = String::from("| what | peak RSS | goal | |\n|---|---|---|---|\n");
    for Peak { what, bytes } in peaks {
        let mib = *bytes as f64 / f64::from(1 << 20);
        let met = if *bytes <= GOAL { "met" } else { "**not met**" };
        let _ = writeln!(table, "| {what} | {mib:.1} MiB | {} MiB | {met} |", GOAL >> 20);
    }
    table
}

/// Makes an image of one layer: the longest one, as many times.
fn repeated(setup: &Setup, times: u64) -> Result<Image> {
    let largest = setup.largest("gzip");
    let (blob, tar) = (setup.blob(&largest.digest), setup.warm_file(&largest.digest));
    Image::of_repeated(&setup.path("repeated"), &blob, &tar, times)
}

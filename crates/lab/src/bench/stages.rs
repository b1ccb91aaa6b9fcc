//! What each stage of a fill takes alone, on one core: what the rows of fills are made of.

use std::fmt::{Display, Write as _};

use anyhow::Result;

use super::row::median;
use super::setup::Setup;

pub(super) const NAME: &str = "stages";

/// As the workload calls them, and what they are.
const STAGES: [(&str, &str); 5] = [
    ("hash-blob", "SHA-256 of the blob"),
    ("inflate", "inflating it"),
    ("hash-layer", "SHA-256 of the layer, BLAKE3 of its chunks"),
    ("write", "copying it into the page cache"),
    ("sync", "writing it to the disk, most of it waiting"),
];
const TAGS: [&str; 2] = ["gzip", "zstd"];

/// The seconds of each stage, for each tag.
pub(super) struct Stages([[f64; TAGS.len()]; STAGES.len()]);

pub(super) fn measure(setup: &Setup, runs: usize) -> Result<Stages> {
    let mut seconds = [[0.0; TAGS.len()]; STAGES.len()];
    for ((name, _), of) in STAGES.iter().zip(&mut seconds) {
        for (tag, of) in TAGS.iter().zip(of) {
            let digest = &setup.largest(tag).digest;
            let (blob, layer, to) = (setup.blob(digest), setup.warm_file(digest), setup.path("stage"));
            let mut took = Vec::new();
            for _ in 0..runs {
                setup.clear("stage")?;
                let options: [(&str, &dyn Display); 4] = [
                    ("name", name),
                    ("blob", &blob.display()),
                    ("layer", &layer.display()),
                    ("to", &to.display()),
                ];
                took.push(setup.work("stage", &options)?.seconds);
            }
            *of = median(&mut took);
        }
    }
    setup.clear("stage")?;
    Ok(Stages(seconds))
}

pub(super) fn table(Stages(seconds): &Stages) -> String {
    let mut table = String::from("| stage, alone on one core | gzip | zstd |\n|---|---|---|\n");
    for ((_, what), of) in STAGES.iter().zip(seconds) {
        let _ = writeln!(table, "| {what} | {:.2} s | {:.2} s |", of[0], of[1]);
    }
    let sum = |tag: usize| -> f64 { seconds.iter().map(|of| of[tag]).sum() };
    let _ = writeln!(table, "| all of them | {:.2} s | {:.2} s |", sum(0), sum(1));
    table
}

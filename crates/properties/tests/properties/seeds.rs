//! What the fuzz targets start from, and what they found.

use std::fs;
use std::path::{Path, PathBuf};

/// Every seed of the target, by its path. A target without seeds has lost them.
pub(crate) fn of(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut seeds: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|file| file.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} has no seeds", directory.display());
    seeds
}

#[test]
fn every_seed_keeps_its_property() {
    for (target, property) in properties::ALL {
        for (path, seed) in of(target) {
            eprintln!("{}", path.display());
            property(&seed);
        }
    }
}

#[test]
fn every_property_has_a_target_and_every_target_a_property() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let mut names: Vec<_> = fs::read_dir(targets)
        .unwrap()
        .map(|file| {
            file.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    let expected: Vec<_> = properties::ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, expected);
}

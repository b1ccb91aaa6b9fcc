//! A real image, from a real registry and from files: every byte of every file is what another tool makes of it.

use crate::environment::{debian, fixture};
use crate::oracle::{Oracle, entries_of_ls};
use crate::sandbox::{Sandbox, digests_of_stdout};

/// How many files one `cat` prints.
const FILES_AT_ONCE: usize = 500;

/// Lists and prints everything there is in an image, with further arguments, and looks at what that costs.
pub(crate) fn reads_like_the_oracle(
    sandbox: &Sandbox,
    arguments: &[&str],
    image: &str,
    oracle: &Oracle,
    inflates: u64,
) {
    let mut list = sandbox.command(["ls", "-R", "--json", image]);
    list.args(arguments);
    let listed = sandbox.finish(list).succeeded();
    let entries = entries_of_ls(&listed.json_lines());
    for (path, entry) in &oracle.entries {
        assert_eq!(entries.get(path), Some(entry), "{path}");
    }
    assert_eq!(entries.len(), oracle.entries.len());
    assert_eq!(listed.inflates(), inflates);

    let files: Vec<_> = oracle.files.iter().collect();
    for batch in files.chunks(FILES_AT_ONCE) {
        let stats = sandbox.stats_file();
        let mut cat = sandbox.command(["cat", image]);
        cat.args(arguments).arg("--stats").arg(&stats);
        cat.args(batch.iter().map(|(path, _)| format!("/{path}")));
        let sizes: Vec<_> = batch.iter().map(|(path, _)| oracle.entries[*path].size).collect();
        for ((path, digest), printed) in batch.iter().zip(digests_of_stdout(cat, &sizes)) {
            assert_eq!(printed, **digest, "{path}");
        }
        let stats: serde_json::Value = serde_json::from_slice(&std::fs::read(stats).unwrap()).unwrap();
        assert_eq!(stats["inflates"], 0);
    }
}

fn reads_right(image: &str, oracle: &str, layers: u64) {
    reads_like_the_oracle(&Sandbox::new(), &[], image, &Oracle::load(oracle), layers);
}

#[test]
fn every_file_of_the_gzip_variant() {
    reads_right(&debian("gzip"), "oracle.tsv", 3);
}

#[test]
fn every_file_of_the_zstd_variant() {
    reads_right(&debian("zstd"), "oracle.tsv", 3);
}

#[test]
fn every_file_of_the_uncompressed_variant() {
    reads_right(&debian("plain"), "oracle.tsv", 3);
}

#[test]
fn every_file_of_a_layout() {
    let layout = fixture("layout");
    reads_right(&format!("oci:{}:small", layout.display()), "oracle-small.tsv", 1);
}

#[test]
fn every_file_of_an_oci_archive() {
    let archive = fixture("small.oci-archive.tar");
    reads_right(
        &format!("oci-archive:{}", archive.display()),
        "oracle-small.tsv",
        1,
    );
}

#[test]
fn every_file_of_a_docker_archive() {
    let archive = fixture("small.docker-archive.tar");
    let image = format!("docker-archive:{}:debian:small", archive.display());
    reads_right(&image, "oracle-small.tsv", 1);
}

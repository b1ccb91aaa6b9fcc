//! What the files of the images are, as `umoci unpack` sees them: `oracle.tsv` of the image fixtures.

use std::collections::BTreeMap;

use layercache::core::Digest;
use serde_json::Value;

use crate::environment;

/// One entry of an image but the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `file`, `directory`, `symlink` or `other`.
    pub(crate) kind: String,
    /// The permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    /// Bytes of a file, else 0.
    pub(crate) size: u64,
    /// Target of a symlink.
    pub(crate) target: Option<String>,
}

/// The entries of an image by path, without leading slash.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) entries: BTreeMap<String, Entry>,
    /// SHA-256 of the files.
    pub(crate) files: BTreeMap<String, Digest>,
}

impl Oracle {
    /// What the file `name` of the image fixtures says.
    pub(crate) fn load(name: &str) -> Self {
        let text = std::fs::read_to_string(environment::fixture(name)).unwrap();
        let mut oracle = Self::default();
        for line in text.lines() {
            let fields: Vec<_> = line.split('\t').collect();
            let [kind, mode, size, value, path] = fields[..] else {
                panic!("{name}: {line}")
            };
            if kind == "file" {
                let digest = format!("sha256:{value}").parse().unwrap();
                oracle.files.insert(path.to_owned(), digest);
            }
            let entry = Entry {
                kind: kind.to_owned(),
                mode: u32::from_str_radix(mode, 8).unwrap(),
                size: size.parse().unwrap(),
                target: (kind == "symlink").then(|| value.to_owned()),
            };
            oracle.entries.insert(path.to_owned(), entry);
        }
        assert!(
            oracle.files.len() > 1000,
            "{name} has {} files",
            oracle.files.len()
        );
        oracle
    }
}

/// What `ls -R --json` says, in the terms of the oracle: umoci sees a hard link as the file it is, and devices as others.
pub(crate) fn entries_of_ls(lines: &[Value]) -> BTreeMap<String, Entry> {
    let entry = |line: &Value| {
        let text = |key: &str| line[key].as_str().unwrap_or_else(|| panic!("{line}")).to_owned();
        let kind = match text("type").as_str() {
            "file" | "hardlink" => "file",
            "dir" => "directory",
            "symlink" => "symlink",
            "char" | "block" | "fifo" => "other",
            unknown => panic!("{unknown}"),
        };
        let entry = Entry {
            kind: kind.to_owned(),
            mode: u32::from_str_radix(&text("mode"), 8).unwrap(),
            size: if kind == "file" {
                line["size"].as_u64().unwrap()
            } else {
                0
            },
            target: (kind == "symlink").then(|| text("target")),
        };
        (text("path"), entry)
    };
    lines.iter().map(entry).collect()
}

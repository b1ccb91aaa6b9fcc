//! What the files of an image are, as umoci sees them: the truth the tests compare with.
//!
//! One line for each entry but the root, sorted by path, with the fields separated by tabs:
//!
//! ```text
//! kind  mode  size  value  path
//! ```
//!
//! `kind`: `file`, `directory`, `symlink` or `other` (devices). `mode`: the permission bits with setuid, setgid and
//! sticky, in octal. `size`: bytes of a file, else 0. `value`: SHA-256 of a file in hex, target of a symlink, else `-`.
//! `path`: without leading slash.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use walkdir::WalkDir;
use xshell::{Shell, cmd};

use super::layout::hash_file;

/// Unpacks the image `tag` of the layout `built` and writes down what is there.
pub(crate) fn write(sh: &Shell, work: &Path, built: &Path, tag: &str, oracle: &Path) -> Result<()> {
    let bundle = work.join(format!("unpacked-{tag}"));
    let image = format!("{}:{tag}", built.display());
    cmd!(sh, "umoci unpack --image {image} {bundle}").run()?;
    Ok(fs::write(oracle, entries(&bundle.join("rootfs"))?)?)
}

fn entries(root: &Path) -> Result<String> {
    let mut lines = String::new();
    for entry in WalkDir::new(root).min_depth(1).sort_by_file_name() {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let (kind, size, value) = if metadata.is_file() {
            let (hex, size) = hash_file(entry.path())?;
            ("file", size, hex)
        } else if metadata.is_dir() {
            ("directory", 0, "-".to_owned())
        } else if metadata.is_symlink() {
            let target = fs::read_link(entry.path())?;
            (
                "symlink",
                0,
                target
                    .into_os_string()
                    .into_string()
                    .ok()
                    .context("a link's target is not UTF-8")?,
            )
        } else {
            ("other", 0, "-".to_owned())
        };
        let mode = metadata.permissions().mode() & 0o7777;
        let path = entry
            .path()
            .strip_prefix(root)?
            .to_str()
            .context("a path is not UTF-8")?;
        ensure!(
            !format!("{value}{path}").contains(['\t', '\n']),
            "{path}: the format has no tabs and line ends in names"
        );
        writeln!(lines, "{kind}\t{mode:o}\t{size}\t{value}\t{path}")?;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_entry_is_written_down() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/hello"), "hello").unwrap();
        fs::set_permissions(root.path().join("etc"), fs::Permissions::from_mode(0o1755)).unwrap();
        fs::set_permissions(root.path().join("etc/hello"), fs::Permissions::from_mode(0o4640)).unwrap();
        std::os::unix::fs::symlink("/nowhere", root.path().join("link")).unwrap();

        let hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let expected = format!(
            "directory\t1755\t0\t-\tetc\nfile\t4640\t5\t{hash}\tetc/hello\nsymlink\t777\t0\t/nowhere\tlink\n"
        );
        assert_eq!(entries(root.path()).unwrap(), expected);
    }
}

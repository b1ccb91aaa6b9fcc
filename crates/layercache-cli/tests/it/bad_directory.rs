//! Cache directories that must not or cannot be used, and disks that are full.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use crate::image::{Image, noise};
use crate::sandbox::{Sandbox, files_below, one_line};
use crate::tmpfs::{in_tmpfs, is_root};

/// An image in a layout, which lies outside the cache directory.
fn image(sandbox: &Sandbox) -> String {
    let files = [("etc/hello", &b"hello"[..]), ("data", &noise(6 << 20))];
    Image::of_files(&files).write_layout(&sandbox.path("layout"))
}

/// The line that reading an image fails with when `dir` is the cache directory.
fn refusal(sandbox: &Sandbox, dir: &Path) -> String {
    let image = image(sandbox);
    let mut pull = sandbox.command(["pull", &image, "--cache-dir"]);
    pull.arg(dir);
    let line = sandbox.finish(pull).failed();
    let mut usage = sandbox.command(["cache", "usage", "--cache-dir"]);
    usage.arg(dir);
    assert_eq!(sandbox.finish(usage).failed(), line);
    assert!(
        line.contains("disk: ") && line.contains(dir.to_str().unwrap()),
        "{line}"
    );
    line
}

fn assert_says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "{word:?} is missing: {line}");
    }
}

/// A directory that the binary would take, but for what the test does to it.
fn directory(sandbox: &Sandbox, name: &str) -> std::path::PathBuf {
    let dir = sandbox.path(name);
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
    dir
}

#[test]
fn a_path_below_a_file() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("file", "precious");
    let line = refusal(&sandbox, &file.join("cache"));
    assert_says(
        &line,
        &["cannot be reached or created", "choose another directory"],
    );
    assert_eq!(line.matches("Not a directory").count(), 1, "{line}");
    let line = refusal(&sandbox, &file);
    assert_says(&line, &["is not a directory", "choose another path"]);
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

#[test]
fn a_directory_that_others_can_write_to() {
    let sandbox = Sandbox::new();
    let dir = directory(&sandbox, "open");
    std::fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
    let line = refusal(&sandbox, &dir);
    assert_says(&line, &["writable by others (mode 0777)", "chmod go-w"]);
    assert!(files_below(&dir).is_empty());
}

#[test]
fn a_link_to_a_directory() {
    let sandbox = Sandbox::new();
    let dir = directory(&sandbox, "real");
    let link = sandbox.path("link");
    symlink(&dir, &link).unwrap();
    let line = refusal(&sandbox, &link);
    assert_says(&line, &["symbolic link", "name the directory"]);
    assert!(files_below(&dir).is_empty());
}

#[test]
fn a_directory_of_somebody_else() {
    let sandbox = Sandbox::new();
    if is_root() {
        let dir = directory(&sandbox, "foreign");
        chown(&dir, Some(4242), None).unwrap();
        let line = refusal(&sandbox, &dir);
        assert_says(&line, &["belongs to user 4242", "run this as user 4242"]);
        assert!(files_below(&dir).is_empty());
    } else {
        let line = refusal(&sandbox, Path::new("/"));
        assert_says(&line, &["belongs to user 0", "run this as user 0"]);
    }
}

#[test]
fn a_directory_that_is_read_only() {
    let sandbox = Sandbox::new();
    let line = in_tmpfs(&sandbox, "ro,mode=700", &["pull", &image(&sandbox)], "");
    assert_eq!(line.code, Some(1));
    let line = one_line(&line.stderr);
    assert_says(
        &line,
        &[
            "disk: ",
            "is not writable",
            "Read-only file system",
            "choose another directory",
        ],
    );
}

#[test]
fn a_directory_that_may_only_be_read_is_looked_into() {
    let sandbox = Sandbox::new();
    let image = image(&sandbox);
    let filled =
        format!("\"$3\" pull {image} --cache-dir \"$1\" >&2 && mount -o remount,ro \"$1\" || exit 98;");
    for (command, words) in [
        (&["cache", "list"][..], "sha256:"),
        (&["cache", "usage"], "evicted next"),
        (&["cache", "verify"], "intact"),
        (&["cache", "gc", "--max-bytes", "0", "--dry-run"], "would remove"),
        (&["explain", &image], "serves it"),
        (&["explain", &image, "/etc/hello"], "of layer 0"),
    ] {
        let outcome = in_tmpfs(&sandbox, "mode=700", command, &filled);
        let stdout = String::from_utf8(outcome.stdout).unwrap();
        assert_eq!(outcome.code, Some(0), "{command:?}: {}", outcome.stderr);
        assert!(stdout.contains(words), "{command:?}: {stdout}");
    }
    for command in [
        &["cache", "gc", "--max-bytes", "0"][..],
        &["cache", "clear"],
        &["config", "check"],
    ] {
        let outcome = in_tmpfs(&sandbox, "mode=700", command, &filled);
        assert_eq!(outcome.code, Some(1), "{command:?}: {}", outcome.stderr);
        let line = outcome.stderr + &String::from_utf8(outcome.stdout).unwrap();
        assert!(line.contains("Read-only file system"), "{command:?}: {line}");
        assert!(!outcome.left.is_empty());
    }
}

#[test]
fn a_layer_that_is_wrong_and_cannot_be_removed_is_no_reason_to_stop() {
    let sandbox = Sandbox::new();
    let mut image = Image::of_files(&[("etc/hello", b"hello"), ("data", &noise(100_000))]);
    image.add_tar(&crate::image::tar(&[("etc/motd", &noise(100_000))]));
    let image = image.write_layout(&sandbox.path("layers"));
    let damaged = format!(
        "\"$3\" pull {image} --cache-dir \"$1\" >&2 && for layer in \"$1\"/*.decompressed; do \
         printf X | dd of=\"$layer\" bs=1 seek=99 conv=notrunc 2> /dev/null || exit 98; done; mount -o remount,ro \"$1\" || exit 98;"
    );
    let outcome = in_tmpfs(&sandbox, "mode=700", &["cache", "verify", "--json"], &damaged);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let lines = String::from_utf8(outcome.stdout).unwrap();
    assert_eq!(lines.matches("\"action\":\"left\"").count(), 2, "{lines}");
    assert_eq!(lines.matches("Read-only file system").count(), 2, "{lines}");
    let last = outcome.stderr.lines().last().unwrap();
    assert!(
        last.contains("2 layers could not be removed though wrong"),
        "{last}"
    );
}

#[test]
fn that_a_directory_could_not_be_created_is_found_out_by_asking() {
    let sandbox = Sandbox::new();
    let check = "\"$3\" config check --cache-dir \"$1/below/clip\" >&2;";
    let outcome = in_tmpfs(&sandbox, "ro,mode=700", &["config", "example"], check);
    assert_says(
        &outcome.stderr,
        &[
            "disk  failed: ",
            "/below/clip cannot be created (Read-only file system",
        ],
    );
}

#[test]
fn a_directory_that_is_not_there_is_not_created_by_looking_for_it() {
    let sandbox = Sandbox::new();
    let image = image(&sandbox);
    let dir = sandbox.path("mistyped");
    let run = |arguments: &[&str]| {
        let mut command = sandbox.command(arguments.iter().copied().chain(["--cache-dir"]));
        command.arg(&dir);
        let run = sandbox.finish(command);
        assert!(!dir.exists(), "{arguments:?}");
        run
    };
    let digest = layercache::core::Digest::sha256_of(b"blob").to_string();
    for (command, code, words) in [
        (&["cache", "list"][..], 0, ""),
        (&["cache", "usage"], 0, "layers     0\n"),
        (&["cache", "verify"], 0, ""),
        (&["cache", "gc", "--max-bytes", "0"], 0, "left: 0 layers"),
        (&["cache", "unpin", &image], 1, ""),
        (&["cache", "remove", &digest], 1, ""),
        (&["cache", "clear"], 0, "left: 0 layers"),
    ] {
        let outcome = run(command);
        assert_eq!(outcome.code, Some(code), "{command:?}: {}", outcome.stderr);
        let warning = outcome.stderr.lines().next().unwrap();
        assert_says(
            warning,
            &["WARN the cache directory is not there", dir.to_str().unwrap()],
        );
        assert!(outcome.text().contains(words), "{command:?}: {}", outcome.text());
    }
    let checked = run(&["config", "check"]).succeeded();
    assert!(checked.text().starts_with("disk  ok\n"), "{}", checked.text());
    let explained = run(&["explain", &image]).succeeded();
    let words = "disk        lacks it";
    assert!(explained.text().contains(words), "{}", explained.text());

    let below_a_file = sandbox.write("file", "").join("cache");
    let mut check = sandbox.command(["config", "check", "--cache-dir"]);
    check.arg(&below_a_file);
    assert_says(
        &sandbox.finish(check).failed(),
        &["cannot be reached or created", "choose another directory"],
    );
}

#[test]
fn a_disk_that_is_full_makes_reads_dear_and_not_wrong() {
    let sandbox = Sandbox::new();
    let image = image(&sandbox);
    let config = sandbox.write(
        "config.toml",
        "[[tier]]\nkind = \"disk\"\nmin_free_bytes = 0\n[[tier]]\nkind = \"registry\"",
    );
    let config = config.to_str().unwrap();
    for command in [
        vec!["cat", "--config", config, &image, "/etc/hello"],
        vec!["--early-reads", "cat", "--config", config, &image, "/etc/hello"],
    ] {
        // The layer has six megabytes.
        let outcome = in_tmpfs(&sandbox, "size=2m,mode=700", &command, "");
        assert_eq!(
            (outcome.code, outcome.stdout.as_slice()),
            (Some(0), &b"hello"[..]),
            "{}",
            outcome.stderr
        );
        assert_eq!(outcome.left, Vec::<String>::new());
    }
    let outcome = in_tmpfs(
        &sandbox,
        "size=2m,mode=700",
        &["pull", "--config", config, &image],
        "",
    );
    // Who asks for a layer to be kept has to know that it is not.
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let line = outcome.stderr.lines().last().unwrap();
    assert_says(
        line,
        &["is not brought: no tier keeps it: disk: ", "the disk is full"],
    );
    let warnings = outcome.stderr.matches("WARN").count();
    assert_eq!(warnings, 1, "{}", outcome.stderr);
    assert_eq!(outcome.left, Vec::<String>::new());

    // A disk that somebody else has filled to the last byte, and one without room for as much as a name.
    let fill = "head -c 100m /dev/zero > \"$1/theirs\" 2> /dev/null;";
    let outcome = in_tmpfs(
        &sandbox,
        "size=2m,mode=700",
        &["cat", "--config", config, &image, "/etc/hello"],
        fill,
    );
    assert_eq!(
        (outcome.code, outcome.stdout.as_slice()),
        (Some(0), &b"hello"[..]),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.left, ["theirs"]);
    let outcome = in_tmpfs(
        &sandbox,
        "nr_inodes=1,mode=700",
        &["cat", "--config", config, &image, "/etc/hello"],
        "",
    );
    assert_eq!(
        (outcome.code, outcome.stdout.as_slice()),
        (Some(0), &b"hello"[..]),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_disk_with_less_free_space_than_is_to_be_kept_free_is_full() {
    let sandbox = Sandbox::new();
    let image = image(&sandbox);
    // By default 256 MiB stay free, and this disk has not as many.
    let outcome = in_tmpfs(&sandbox, "size=64m,mode=700", &["cat", &image, "/etc/hello"], "");
    assert_eq!(
        (outcome.code, outcome.stdout.as_slice()),
        (Some(0), &b"hello"[..]),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.left, Vec::<String>::new());
}

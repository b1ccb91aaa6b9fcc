//! `ls` and `cat`: what an image's files look like from outside of it.

use std::io::Read as _;
use std::process::Stdio;

use crate::environment::debian;
use crate::image::{Image, gzip, noise};
use crate::sandbox::Sandbox;

/// The image of a tar that `add` fills.
fn image(sandbox: &Sandbox, add: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> String {
    let mut builder = tar::Builder::new(Vec::new());
    add(&mut builder);
    let tar = builder.into_inner().unwrap();
    let mut image = Image::default();
    image.add_layer(&gzip(&tar), &layercache::core::Digest::sha256_of(&tar));
    image.write_layout(&sandbox.path("layout"))
}

fn add_file(tar: &mut tar::Builder<Vec<u8>>, path: &str, contents: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(contents.len() as u64);
    header.set_mode(0o4755);
    header.set_mtime(951_782_400);
    header.set_uid(1000);
    tar.append_data(&mut header, path, contents).unwrap();
}

fn add_link(tar: &mut tar::Builder<Vec<u8>>, path: &str, target: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    tar.append_link(&mut header, path, target).unwrap();
}

#[test]
fn links_are_followed_inside_of_the_image_only() {
    let sandbox = Sandbox::new();
    let image = image(&sandbox, |tar| {
        add_file(tar, "etc/passwd", b"of the image");
        add_link(tar, "absolute", "/etc/passwd");
        add_link(tar, "up", "../../../../../../etc/passwd");
        add_link(tar, "root", "/");
        add_link(tar, "dangling", "/etc/shadow");
        add_link(tar, "loop", "loop");
        add_link(tar, "mounts", "/proc/self/mounts");
    });
    for path in [
        "/absolute",
        "/up",
        "/root/etc/passwd",
        "/root/../root/absolute",
        "../../etc/passwd",
        "etc/./passwd",
    ] {
        assert_eq!(
            sandbox.succeed(["cat", &image, path]).text(),
            "of the image",
            "{path}"
        );
    }
    for (path, what) in [
        ("/dangling", "no such file"),
        ("/mounts", "no such file"),
        ("/loop", "symbolic links"),
        ("/root", "is a directory"),
    ] {
        let line = sandbox.fail(["cat", &image, path]);
        assert!(line.contains(path) && line.contains(what), "{line}");
    }
}

#[test]
fn links_of_a_real_image() {
    let sandbox = Sandbox::new();
    let image = debian("small");
    // /bin is a link to usr/bin, and awk one to /etc/alternatives/awk, which is one to /usr/bin/mawk.
    let through_links = sandbox.succeed(["cat", &image, "/bin/awk"]).stdout;
    let directly = sandbox.succeed(["cat", &image, "/usr/bin/mawk"]).stdout;
    assert!(through_links == directly && directly.starts_with(b"\x7fELF"));
    let listed = sandbox.succeed(["ls", "-l", &image, "/bin"]);
    assert!(
        listed.text().starts_with("lrwxrwxrwx") && listed.text().ends_with("/bin -> usr/bin\n"),
        "{}",
        listed.text()
    );
    let names = sandbox.succeed(["ls", &image, "/bin"]);
    assert!(
        names.text().lines().any(|name| name == "mawk"),
        "{}",
        names.text()
    );
}

#[test]
fn a_listing_looks_like_that_of_ls() {
    let sandbox = Sandbox::new();
    let image = image(&sandbox, |tar| {
        add_file(tar, "srv/app/run", b"#!/bin/sh\n");
        add_link(tar, "srv/latest", "app");
    });
    let long = sandbox.succeed(["ls", "-l", &image, "/srv"]);
    let lines: Vec<_> = long.text().lines().collect();
    assert!(
        lines[0].starts_with('d') && lines[0].ends_with(" app"),
        "{}",
        long.text()
    );
    assert!(
        lines[1].starts_with("lrwxrwxrwx") && lines[1].ends_with(" latest -> app"),
        "{}",
        long.text()
    );

    let file = sandbox.succeed(["ls", "-l", &image, "/srv/app/run"]);
    let words: Vec<_> = file.text().split_whitespace().collect();
    assert_eq!(
        words,
        [
            "-rwsr-xr-x",
            "1000",
            "0",
            "10",
            "2000-02-29",
            "00:00",
            "/srv/app/run"
        ]
    );
    assert_eq!(
        sandbox.succeed(["ls", &image, "srv/app/run"]).text(),
        "srv/app/run\n"
    );
    assert_eq!(sandbox.succeed(["ls", &image]).text(), "srv\n");
    // A link to a directory is followed, as ls does.
    assert_eq!(sandbox.succeed(["ls", &image, "/srv/latest"]).text(), "run\n");
    let json = sandbox.succeed(["ls", "--json", &image, "/srv/app"]).json();
    assert_eq!(
        (&json["path"], &json["mode"], &json["size"]),
        (&"run".into(), &"4755".into(), &10.into())
    );
    assert_eq!(
        (&json["uid"], &json["mtime"], &json["layer"]),
        (&1000.into(), &951_782_400.into(), &0.into())
    );
}

/// The one reader of a layer serves its tree and all files of it.
#[test]
fn a_layer_is_opened_once_however_many_files_of_it_are_printed() {
    let sandbox = Sandbox::new();
    let image = image(&sandbox, |tar| {
        add_file(tar, "etc/passwd", b"of the image");
        add_file(tar, "etc/motd", b"hello");
    });
    let disk = |arguments: &[&str]| sandbox.succeed(arguments).stats["tiers"]["disk"].clone();
    let cold = disk(&["cat", &image, "etc/passwd", "etc/motd"]);
    assert_eq!((&cold["misses"], &cold["hits"]), (&1.into(), &0.into()));
    // The first time the tree is read from the layer, and after that it stands next to it.
    for arguments in [
        &["cat", &image, "etc/motd", "etc/passwd"][..],
        &["ls", "-R", &image],
    ] {
        assert_eq!(disk(arguments)["hits"], 1, "{arguments:?}");
    }
}

#[test]
fn ranges_of_a_file() {
    let sandbox = Sandbox::new();
    let contents = noise(200_000);
    let image = image(&sandbox, |tar| add_file(tar, "data", &contents));
    for (offset, length) in [
        (0, 10),
        (511, 1),
        (100_000, 100_001),
        (199_999, 5),
        (200_000, 1),
        (9_000_000, 1),
        (5, 0),
    ] {
        let expected = &contents[offset.min(200_000)..(offset + length).min(200_000)];
        let (offset, length) = (offset.to_string(), length.to_string());
        let printed = sandbox.succeed(["cat", &image, "/data", "--offset", &offset, "--length", &length]);
        assert!(printed.stdout == expected, "{length} bytes at {offset}");
    }
}

#[test]
fn names_and_messages_cannot_drive_the_terminal() {
    let sandbox = Sandbox::new();
    let name = "evil\x1b[2J\r\n\x07name";
    let image = image(&sandbox, |tar| {
        add_file(tar, name, b"contents");
        add_link(tar, "link", "to\x1b]0;title\x07");
    });
    for command in [
        vec!["ls", &image],
        vec!["ls", "-l", &image],
        vec!["ls", "-R", &image],
        vec!["ls", "--json", &image],
        vec!["ls", &image, name],
        vec!["ls", "-l", &image, name],
    ] {
        let listed = sandbox.succeed(&command);
        let driving = listed
            .text()
            .chars()
            .filter(|c| c.is_control() && *c != '\n')
            .count();
        assert_eq!(driving, 0, "{command:?}: {:?}", listed.text());
        assert!(
            listed.text().lines().count() <= 2,
            "{command:?}: {:?}",
            listed.text()
        );
    }
    assert_eq!(sandbox.succeed(["cat", &image, name]).text(), "contents");
    for command in [
        vec!["cat", &image, "no\x1b[2J\nsuch"],
        vec!["cat", &image, "/link"],
    ] {
        let line = sandbox.fail(&command);
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

#[test]
fn whoever_has_read_enough_may_go_away() {
    let sandbox = Sandbox::new();
    let image = image(&sandbox, |tar| add_file(tar, "data", &noise(4 << 20)));
    let commands = [vec!["cat", &image, "/data"], vec!["read", &image, "0"]];
    for command in commands {
        let mut child = sandbox
            .command(&command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), stderr.as_str()),
            (Some(0), ""),
            "{command:?}"
        );
    }
    // Many lines, more than a pipe holds.
    let mut child = sandbox
        .command(["ls", "-R", "--json", &debian("small")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[test]
fn standard_output_that_fails_is_a_failure() {
    let sandbox = Sandbox::new();
    let image = image(&sandbox, |tar| add_file(tar, "data", b"data"));
    for command in [
        vec!["cat", &image, "/data"],
        vec!["ls", &image],
        vec!["inspect", &image],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = sandbox.command(&command).stdout(full).output().unwrap();
        let line = crate::sandbox::one_line(&String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(1));
        assert!(
            line.contains("standard output: No space left on device"),
            "{line}"
        );
    }
}

//! File systems with too little room or that become read-only, and a directory that vanishes.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::{StreamExt, stream};
use tokio::sync::watch;

use super::subject::{Subject, assert_only_layers};
use crate::image::{Image, noise};
use crate::registry::{Registry, with};
use crate::sandbox::Sandbox;
use crate::tmpfs::{in_tmpfs, is_root};

/// The tmpfs has room for so many pages more each time, so that another write is the one that fails.
#[test]
fn a_disk_that_is_full_at_any_write() {
    let subject = Subject::new();
    let config = subject.sandbox.write(
        "config.toml",
        "[[tier]]\nkind = \"disk\"\nmin_free_bytes = 0\n[[tier]]\nkind = \"registry\"",
    );
    let (mut arguments, printed) = subject.cat();
    arguments.extend(["--config", config.to_str().unwrap()]);
    let mut kept = BTreeSet::new();
    for kilobytes in (4..=520).step_by(24) {
        let options = format!("size={kilobytes}k,mode=700");
        let outcome = in_tmpfs(&subject.sandbox, &options, &arguments, "");
        assert_eq!(outcome.code, Some(0), "{kilobytes} KiB: {}", outcome.stderr);
        assert!(outcome.stdout == printed, "{kilobytes} KiB: other bytes");
        let left: BTreeSet<String> = outcome.left.into_iter().collect();
        assert_only_layers(&left);
        kept.insert(left.iter().filter(|name| name.ends_with(".decompressed")).count());
    }
    assert_eq!((kept.first(), kept.last()), (Some(&0), Some(&3)), "{kept:?}");
}

#[test]
fn a_disk_that_becomes_read_only_under_a_reader() {
    let sandbox = Sandbox::new();
    let layer = noise(6 << 20);
    let image = Image::of_files(&[("data", &layer)]).write_layout(&sandbox.path("layout"));
    let dir = sandbox.path("mounted");
    std::fs::create_dir(&dir).unwrap();
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !is_root() {
        command.arg("--map-root-user");
    }
    // The reader is told by its pipe to go on, once the shell has done what it is told by its own.
    let script = "mount -t tmpfs -o mode=700 tmpfs \"$1\" || exit 99; dir=$1; binary=$2; image=$3
        \"$binary\" pull \"$image\" --cache-dir \"$dir\" >/dev/null || exit 98
        \"$binary\" cat \"$image\" /data --cache-dir \"$dir\" &
        read -r word && mount -o remount,ro \"$dir\" && echo read-only >&2
        wait $!; code=$?; \"$binary\" pull \"$image\" --cache-dir \"$dir\" >&2; exit $code";
    let like = sandbox.command([""; 0]);
    command.args(["sh", "-c", script, "sh"]);
    command.arg(&dir).arg(like.get_program()).arg(&image).env_clear();
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let mut printed = vec![0; 1000];
    stdout.read_exact(&mut printed).unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut said = [0; 10];
    stderr.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"read-only\n");
    stdout.read_to_end(&mut printed).unwrap();
    assert!(printed == layer, "{} bytes", printed.len());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    // Whoever comes now to fill it is told what is wrong.
    assert!(
        rest.contains("is not writable") && rest.contains("Read-only file system"),
        "{rest}"
    );
}

#[test]
fn a_directory_that_is_removed_in_the_middle_of_a_fill() {
    let contents = noise(2_000_000);
    let image = Image::of_files(&[("data", &contents)]);
    let digest = image.digest(0).to_owned();
    let blob = Bytes::from(image.blobs[&digest].clone());
    let (asked, is_asked) = mpsc::channel();
    let (go_on, may_go_on) = watch::channel(false);
    let registry = Registry::of_image(image, move |request| {
        (request.name() == digest && request.before == 0).then(|| {
            asked.send(()).unwrap();
            let (first, second) = (blob.slice(..1_500_000), blob.slice(1_500_000..));
            let mut may_go_on = may_go_on.clone();
            let rest = stream::once(async move {
                may_go_on.wait_for(|may| *may).await.unwrap();
                Ok::<_, std::io::Error>(second)
            });
            let body = stream::once(async { Ok(first) }).chain(rest);
            with(
                200,
                &[("content-length", &blob.len().to_string())],
                Body::from_stream(body),
            )
        })
    });
    let sandbox = Sandbox::new();
    let image = registry.image();
    let mut command = sandbox.command(["cat", &image, "/data"]);
    let cat = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    is_asked.recv_timeout(Duration::from_secs(60)).unwrap();
    std::fs::remove_dir_all(sandbox.cache_dir()).unwrap();
    go_on.send(true).unwrap();
    let output = cat.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.stdout == contents);
    assert_only_layers(&sandbox.cached_files());
    assert!(sandbox.succeed(["cat", &image, "/data"]).stdout == contents);
    assert_eq!(sandbox.cached_files().len(), 3);
}

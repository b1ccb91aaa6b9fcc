//! SIGKILL in front of every system call that changes the cache directory.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use cache_testkit::crash::{Action, points};

use super::subject::Subject;

/// Threads come to their calls in another order each time, so that not every point is reached again; the first one of
/// each call is.
fn killed_everywhere(subject: &Subject, arguments: &[&str]) {
    let (outcome, trace) = subject.run(arguments, |strace| strace);
    assert!(outcome.code.is_some(), "killed by nobody");
    let mut points = points(&trace, &subject.sandbox.cache_dir());
    points.retain(|point| point.changes_files());
    let mut reached = BTreeSet::new();
    for point in &points {
        let (outcome, _) = subject.run(arguments, |strace| strace.with(point, Action::Kill));
        eprintln!("{arguments:?}, killed at {point:?}: {:?}", outcome.code);
        if outcome.code.is_none() {
            reached.insert(&point.call);
        }
        if arguments == ["cache", "verify"] {
            // What one was killed in front of, the next one does.
            let verified = subject.sandbox.run(arguments);
            assert!(matches!(verified.code, Some(0 | 1)), "{}", verified.stderr);
        }
        subject.check();
    }
    let calls: BTreeSet<_> = points.iter().map(|point| &point.call).collect();
    assert_eq!(reached, calls);
    assert!(calls.len() >= 3, "{calls:?}");
}

#[test]
fn in_a_cold_read() {
    let subject = Subject::new();
    killed_everywhere(&subject, &subject.cat().0);
}

#[test]
fn in_a_pull_that_evicts() {
    let subject = Subject::new();
    subject.check();
    subject.sandbox.succeed(["cache", "clear"]);
    subject.sandbox.succeed(subject.cat().0);
    let subject = subject.begun_here();
    let config = subject.sandbox.write(
        "config.toml",
        "[[tier]]\nkind = \"disk\"\nmax_bytes = \"500KiB\"\n[[tier]]\nkind = \"registry\"",
    );
    let arguments = ["pull", &subject.other, "--config", config.to_str().unwrap()];
    killed_everywhere(&subject, &arguments);
}

#[test]
fn in_what_an_operator_does() {
    let subject = Subject::new();
    subject.check();
    let subject = subject.begun_here();
    killed_everywhere(&subject, &["cache", "gc", "--max-bytes", "100KiB"]);
    killed_everywhere(&subject, &["cache", "clear"]);
    // One wrong byte in each layer, which verifying them finds.
    subject.run(&["cache", "usage"], |strace| strace);
    for layer in subject.cached(".decompressed") {
        let mut bytes = std::fs::read(&layer).unwrap();
        bytes[600] ^= 1;
        std::fs::set_permissions(&layer, Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&layer, bytes).unwrap();
    }
    killed_everywhere(&subject.begun_here(), &["cache", "verify"]);
}

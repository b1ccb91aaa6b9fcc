//! Errors of the disk: what is read is right all the same, and nothing of a half-written layer is left.

use cache_testkit::crash::{Action, Point, points, some_of};

use super::subject::Subject;

#[test]
fn a_disk_that_fails_to_write_costs_no_read() {
    let subject = Subject::new();
    let (arguments, printed) = subject.cat();
    let (_, trace) = subject.run(&arguments, |strace| strace);
    let points = points(&trace, &subject.sandbox.cache_dir());
    // All of the points of a call are those of a disk that has become read-only, or has no room at all.
    let mut calls: Vec<_> = points
        .iter()
        .map(|point| Point {
            nth: 0,
            ..point.clone()
        })
        .collect();
    calls.sort();
    calls.dedup();
    let once = some_of(&points).into_iter().map(|point| (point, "EIO"));
    let always = calls
        .iter()
        .flat_map(|point| ["EIO", "ENOSPC", "EROFS"].map(|error| (point.clone(), error)));
    for (point, error) in once.chain(always) {
        let (outcome, _) = subject.run(&arguments, |strace| strace.with(&point, Action::Fail(error)));
        // Without a directory there is nothing to begin with.
        if outcome.code == Some(1) && outcome.stderr.contains("cannot be reached or created") {
            assert!(outcome.stdout.is_empty() && ["mkdir", "openat"].contains(&&*point.call));
            continue;
        }
        assert_eq!(outcome.code, Some(0), "{error} at {point:?}: {}", outcome.stderr);
        assert!(outcome.stdout == printed, "{error} at {point:?}: other bytes");
        eprintln!("{error} at {point:?}");
        // What cannot be removed, or may be another's lock, is left to the next process.
        if !["unlinkat", "flock"].contains(&&*point.call) {
            subject.assert_only_layers();
        }
        subject.check();
    }
}

#[test]
fn a_disk_that_fails_to_read_costs_no_read() {
    let subject = Subject::new();
    subject.check();
    let subject = subject.begun_here();
    let (arguments, printed) = subject.cat();
    let files = [".decompressed", ".index", ".tree"].map(|kind| subject.cached(kind));
    let mut reached = 0;
    for on in [files.concat()].iter().chain(&files) {
        for call in ["openat", "statx", "read", "pread64", "preadv2"] {
            for nth in 0..4 {
                let (call, on) = (call.to_owned(), on.clone());
                let point = Point { call, nth, on };
                let (outcome, trace) = subject.run(&arguments, |strace| {
                    let calls = strace.of("statx,read,pread64,preadv2");
                    calls.with(&point, Action::Fail("EIO"))
                });
                assert_eq!(outcome.code, Some(0), "at {point:?}: {}", outcome.stderr);
                assert!(outcome.stdout == printed, "at {point:?}: other bytes");
                let failed = Some(Err("EIO".to_owned()));
                reached += u32::from(trace.iter().any(|call| call.result == failed));
            }
        }
        subject.check();
    }
    assert!(reached > 20, "{reached}");
}

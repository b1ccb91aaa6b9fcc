//! Fail points: the system calls of a process that change a directory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::trace::Call;

/// Of so many points of a call each one is tried. A fill has no more of any call.
const FIRST_POINTS: usize = 5;

/// A system call of a process that is run again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point {
    /// The name of the call.
    pub call: String,
    /// Which one of its name that some thread makes, from 1; 0 for all of them.
    pub nth: usize,
    /// Calls on anything but these files and directories do not count; all do when there are none.
    pub on: Vec<PathBuf>,
}

impl Point {
    /// The same of a run on another cache directory.
    #[must_use]
    pub fn in_place_of(&self, dir: &Path) -> Self {
        let mut point = self.clone();
        if !point.on.is_empty() {
            point.on = directories(dir);
        }
        point
    }

    /// Whether a process that has ended leaves other files behind the call than in front of it.
    pub fn changes_files(&self) -> bool {
        !matches!(
            &*self.call,
            "flock" | "utimensat" | "fchmod" | "fsync" | "fdatasync"
        )
    }

    /// Whether the call may fail because the disk is full.
    pub fn takes_space(&self) -> bool {
        !matches!(&*self.call, "flock" | "utimensat" | "fchmod" | "unlinkat")
    }
}

/// The directories that names of a cache directory are in.
fn directories(dir: &Path) -> Vec<PathBuf> {
    vec![dir.to_owned(), dir.join("lock"), dir.join("staging")]
}

/// The fail points of a trace on files below `dir`: the calls that change something there, each of which
/// a run that does the same reaches again.
pub fn points(trace: &[Call], dir: &Path) -> Vec<Point> {
    let mut points = Vec::new();
    let mut made = HashMap::<(u32, &str), usize>::new();
    let mut most = HashMap::<&str, usize>::new();
    for call in trace {
        // Anything of the process writes, and a lock file with less in it is the lock all the same.
        if call.name == "write" {
            continue;
        }
        let here = touches(call, dir);
        // The loader opens files as well, and other threads do.
        let counted_here_alone = call.name == "openat";
        if counted_here_alone && !here {
            continue;
        }
        let count = made.entry((call.thread, &call.name)).or_default();
        *count += 1;
        // strace counts for each thread, so that the first one to come so far is the one it stops.
        let most = most.entry(&call.name).or_default();
        if *count > *most {
            *most = *count;
            if here && changes(call) {
                let on = if counted_here_alone {
                    directories(dir)
                } else {
                    Vec::new()
                };
                points.push(Point {
                    call: call.name.clone(),
                    nth: *count,
                    on,
                });
            }
        }
    }
    points
}

/// Of the points of each call the first few and the last one; all, where `LAYERCACHE_TEST_EXHAUSTIVE` is set.
pub fn some_of(points: &[Point]) -> Vec<Point> {
    let all = std::env::var_os("LAYERCACHE_TEST_EXHAUSTIVE").is_some();
    let is_last = |point: &Point| {
        let of_the_call = points.iter().filter(|other| other.call == point.call);
        of_the_call.map(|other| other.nth).max() == Some(point.nth)
    };
    let mut seen = HashMap::<&str, usize>::new();
    let mut some = Vec::new();
    for point in points {
        let count = seen.entry(&point.call).or_default();
        *count += 1;
        if all || *count <= FIRST_POINTS || is_last(point) {
            some.push(point.clone());
        }
    }
    some
}

fn touches(call: &Call, dir: &Path) -> bool {
    (0..call.arguments.len()).any(|n| {
        call.descriptor(n).is_some_and(|(_, path)| path.starts_with(dir))
            || (n < 2 && call.path(n).is_some_and(|path| path.starts_with(dir)))
    })
}

fn changes(call: &Call) -> bool {
    let creates = |flags: &String| flags.contains("O_CREAT") || flags.contains("O_TMPFILE");
    call.name != "openat" || call.arguments.get(2).is_some_and(creates)
}

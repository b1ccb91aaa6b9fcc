//! Reads of one reader, told in bundles.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// After so many reads a tally is told, and after so many bytes: a power of 2 each.
const BUNDLE: u64 = 64;
const BUNDLE_BYTES: u64 = 1 << 20;

/// Reads, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    pub(crate) reads: u64,
    pub(crate) bytes: u64,
}

/// Counts the reads of one reader. A warm read is so short that counters which all readers share would be much of it: this one is the
/// reader's own, and says only now and then what is to be added to them. Whoever drops it asks for [the rest](Self::rest).
#[derive(Debug, Default)]
pub(crate) struct Tally {
    reads: AtomicU64,
    bytes: AtomicU64,
    told_reads: AtomicU64,
    told_bytes: AtomicU64,
}

impl Tally {
    /// Counts a read, and returns what is to be told now, if it is time.
    pub(crate) fn add(&self, bytes: u64) -> Option<Reads> {
        let had_bytes = self.bytes.fetch_add(bytes, Relaxed);
        let had_reads = self.reads.fetch_add(1, Relaxed);
        let full = passes(had_bytes, bytes, BUNDLE_BYTES) | passes(had_reads, 1, BUNDLE);
        full.then(|| self.rest())
    }

    /// What was not told yet. Of several that ask at once, each gets a part of it.
    pub(crate) fn rest(&self) -> Reads {
        let untold = |all: &AtomicU64, told: &AtomicU64| {
            let all = all.load(Relaxed);
            all.saturating_sub(told.fetch_max(all, Relaxed))
        };
        Reads {
            reads: untold(&self.reads, &self.told_reads),
            bytes: untold(&self.bytes, &self.told_bytes),
        }
    }

    /// All of it, told or not.
    pub(crate) fn all(&self) -> Reads {
        Reads {
            reads: self.reads.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }
}

/// Whether a multiple of `bundle` is reached by adding to `before`. All is told whenever one is, so that less than a bundle is untold.
fn passes(before: u64, added: u64, bundle: u64) -> bool {
    (before ^ (before + added)) >= bundle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_told_once_whoever_asks() {
        let tally = Tally::default();
        let told = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut told = Reads::default();
                        for _ in 0..1000 {
                            if let Some(Reads { reads, bytes }) = tally.add(3) {
                                told.reads += reads;
                                told.bytes += bytes;
                            }
                        }
                        told
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        });
        let rest = tally.rest();
        let reads = told.iter().map(|told| told.reads).sum::<u64>() + rest.reads;
        let bytes = told.iter().map(|told| told.bytes).sum::<u64>() + rest.bytes;
        let all = Reads {
            reads: 4000,
            bytes: 12_000,
        };
        assert_eq!(Reads { reads, bytes }, all);
        assert_eq!((tally.all(), tally.rest()), (all, Reads::default()));
    }

    #[test]
    fn a_bundle_is_told_as_soon_as_it_is_full() {
        let tally = Tally::default();
        for _ in 1..BUNDLE {
            assert_eq!(tally.add(1), None);
        }
        let bundle = Reads {
            reads: BUNDLE,
            bytes: BUNDLE,
        };
        assert_eq!(tally.add(1), Some(bundle));
    }

    #[test]
    fn a_bundle_is_full_of_bytes_as_well() {
        let tally = Tally::default();
        assert_eq!(tally.add(BUNDLE_BYTES - 1), None);
        let bundle = |reads, bytes| Some(Reads { reads, bytes });
        assert_eq!(tally.add(1), bundle(2, BUNDLE_BYTES));
        assert_eq!(tally.add(BUNDLE_BYTES - 1), None);
        assert_eq!(tally.add(3 * BUNDLE_BYTES), bundle(2, 4 * BUNDLE_BYTES - 1));
        assert_eq!(tally.add(1), bundle(1, 1));
    }

    #[test]
    fn a_bundle_may_be_full_in_both_ways_at_once() {
        let tally = Tally::default();
        for _ in 1..BUNDLE {
            assert_eq!(tally.add(1), None);
        }
        let bundle = Reads {
            reads: BUNDLE,
            bytes: BUNDLE - 1 + BUNDLE_BYTES,
        };
        assert_eq!(tally.add(BUNDLE_BYTES), Some(bundle));
    }
}

//! The bugs: a hook of the same name is in the sources, `planted::is("...")`.

use std::fmt;

/// The crates that bugs are planted in, with the tests that have to notice.
pub(super) const PACKAGES: &[&str] = &["cache-core", "cache-disk"];

/// One binary of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Suite {
    pub(super) package: &'static str,
    pub(super) target: &'static str,
    /// Whether it is told by the scheduler of `cargo xtask schedules`.
    pub(super) scheduled: bool,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.scheduled { ", scheduled" } else { "" };
        write!(f, "{} {}{how}", self.package, self.target)
    }
}

/// The stories next to the code.
const CORE: Suite = Suite::new("cache-core", "cache_core");
/// The stories of a composed cache.
const CACHE: Suite = Suite::new("cache-core", "cache");
/// The stories of the smallest parts, told under every schedule.
const SCHEDULED_PARTS: Suite = Suite {
    scheduled: true,
    ..CORE
};
/// The stories that are told under many schedules.
const SCHEDULES: Suite = Suite {
    scheduled: true,
    ..Suite::new("cache-core", "schedules")
};
/// Any composition, put to any sequence of operations and faults.
const INTERACTIONS: Suite = Suite::new("cache-core", "interactions");
const QUOTA_AND_RECOVERY: Suite = Suite::new("cache-disk", "cache_disk");
const DISK: Suite = Suite::new("cache-disk", "disk");
const DISK_LAWS: Suite = Suite::new("cache-disk", "laws");

impl Suite {
    const fn new(package: &'static str, target: &'static str) -> Self {
        Self {
            package,
            target,
            scheduled: false,
        }
    }
}

/// A bug, and the tests of each suite that have to catch it: those whose names contain the word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bug {
    pub(super) name: &'static str,
    pub(super) caught_by: &'static [(Suite, &'static str)],
}

const fn bug(name: &'static str, caught_by: &'static [(Suite, &'static str)]) -> Bug {
    Bug { name, caught_by }
}

pub(super) const BUGS: &[Bug] = &[
    // What is believed.
    bug("diff-id-not-checked", &[(CACHE, "proof::"), (INTERACTIONS, "")]),
    bug("short-source-not-noticed", &[(CACHE, "proof::")]),
    bug("max-layer-bytes-ignored", &[(CACHE, "proof::")]),
    bug("blob-digest-not-checked", &[(CORE, "a_wrong_blob_is_corrupt")]),
    bug("read-before-all-is-verified", &[(CORE, "inflate::tests")]),
    bug("chunk-not-verified", &[(CORE, "chunked")]),
    bug("short-read-at-a-chunk-boundary", &[(CORE, "chunked")]),
    bug("seal-ignored", &[(CORE, "seal::tests")]),
    bug("index-of-another-layer-admitted", &[(CORE, "seal::tests")]),
    // Where a layer is looked for, and by whom.
    bug("outage-is-a-miss", &[(CACHE, "faults::"), (INTERACTIONS, "")]),
    bug("corrupt-hit-not-removed", &[(CACHE, "faults::")]),
    bug(
        "flight-not-on-the-table",
        &[
            (CACHE, "fifty_readers_of_a_cold_layer"),
            (INTERACTIONS, ""),
            (SCHEDULES, "readers_of_a_cold_layer"),
        ],
    ),
    bug("flights-on-other-terms-not-waited-for", &[(CACHE, "terms::")]),
    bug("outdated-answer-believed", &[(CACHE, "repair::")]),
    // What is read before it is proven.
    bug("early-bytes-not-refuted", &[(CACHE, "early::")]),
    bug("refutation-not-told", &[(CACHE, "early::")]),
    // What only some order of events shows.
    bug("wake-up-lost", &[(SCHEDULED_PARTS, "in_flight::stories")]),
    bug(
        "close-overlooks-a-flight",
        &[(SCHEDULES, "whoever_closes_the_cache")],
    ),
    // What goes on behind the readers.
    bug(
        "write-backs-not-drained",
        &[(CACHE, "tiers::"), (INTERACTIONS, "")],
    ),
    bug(
        "lease-released-before-the-write-back",
        &[(CACHE, "a_lease_is_held_until"), (INTERACTIONS, "")],
    ),
    bug("tiers-behind-the-hit-filled", &[(INTERACTIONS, "")]),
    bug("lease-ignored", &[(CACHE, "leases::"), (INTERACTIONS, "")]),
    bug("lease-not-renewed", &[(CACHE, "leases::"), (INTERACTIONS, "")]),
    bug("giving-up-not-told", &[(CACHE, "leases::"), (INTERACTIONS, "")]),
    bug("reserved-memory-not-given-back", &[(CACHE, "proof::")]),
    // Guards.
    bug("half-open-lets-all-through", &[(CORE, "guard::tests::breaker")]),
    bug("any-error-repeated", &[(CORE, "guard::tests::retry")]),
    bug(
        "unverified-streams-patched-together",
        &[(CORE, "guard::tests::retry")],
    ),
    // The disk.
    bug(
        "published-before-the-last-chunk",
        &[(DISK, "filling"), (DISK_LAWS, "commit")],
    ),
    bug("index-of-other-bytes-committed", &[(DISK, "filling")]),
    bug("watermark-ahead-of-data", &[(DISK, "filling")]),
    bug("abort-forgotten-on-drop", &[(DISK, "what_is_dropped")]),
    bug("lock-not-held", &[(DISK, "locking")]),
    bug("quota-ignored", &[(DISK, "quota")]),
    bug("open-layer-evicted", &[(QUOTA_AND_RECOVERY, "quota")]),
    bug("layer-being-filled-evicted", &[(DISK, "quota")]),
    bug("most-recently-used-evicted", &[(DISK, "quota")]),
    bug(
        "pin-ignored",
        &[(DISK, "eviction"), (QUOTA_AND_RECOVERY, "quota")],
    ),
    bug("layer-appears-without-the-quota", &[(DISK, "quota")]),
    bug("cut-file-served", &[(DISK, "reading")]),
    bug("rebuilt-index-not-compared", &[(DISK, "reading")]),
    bug("live-staging-file-removed", &[(DISK, "filling")]),
    bug("failed-sync-repeated", &[(DISK, "crash::failures")]),
    // What only a power loss shows.
    bug("file-not-synced", &[(DISK, "crash::power_loss")]),
    bug("directory-not-synced", &[(DISK, "crash::power_loss")]),
    bug("wrong-layer-comes-back", &[(DISK, "crash::power_loss")]),
];

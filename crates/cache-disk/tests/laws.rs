//! The laws of tiers, for the disk tier: with `O_TMPFILE` where the file system has it, and without.

use std::sync::Arc;

use cache_disk::DiskConfig;
use cache_testkit::laws::TierSubject;
use cache_testkit::tier_laws;

fn disk(set: impl Fn(DiskConfig) -> DiskConfig + Send + Sync + 'static) -> TierSubject {
    let root = Arc::new(tempfile::tempdir().unwrap());
    let dir = root.path().join("clip");
    let open = move || {
        set(DiskConfig::new(dir.clone()).with_min_free_bytes(0))
            .open()
            .unwrap()
    };
    TierSubject::new(open())
        .keeping(root)
        .reopened_by(move || std::future::ready(open()))
}

tier_laws!(durable unnamed_files, || async { disk(|config| config) });
tier_laws!(durable staging, || async { disk(|config| config.with_force_staging(true)) });
tier_laws!(durable quota, || async { disk(|config| config.with_max_bytes(1 << 30)) });

//! The events that operators grep for. Alone in its binary: events of blocking work reach only a global subscriber.

use bytes::Bytes;
use cache_core::index::IndexBuilder;
use cache_core::{Algorithm, Claim, Digest, LayerDescriptor, LayerSource, Tier};
use cache_disk::DiskConfig;
use cache_testkit::Log;

#[tokio::test]
async fn what_operators_grep_for_is_said_once_and_with_its_fields() {
    let log = Log::listen("debug");

    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("clip");
    let tier = DiskConfig::new(&dir)
        .with_min_free_bytes(0)
        .with_max_bytes(2000)
        .open()
        .unwrap();
    for name in ["first", "second"] {
        let layer = LayerDescriptor::new(Digest::sha256_of(name.as_bytes()));
        let Claim::Write(mut writer) = tier.create(&layer).await.unwrap() else {
            panic!("not there yet")
        };
        let mut builder = IndexBuilder::new(Algorithm::Sha256);
        builder.update(&[7; 1000]);
        writer.write(Bytes::from(vec![7; 1000])).await.unwrap();
        writer.commit(&builder.finish(layer.digest)).await.unwrap();
    }

    let (first, second) = (Digest::sha256_of(b"first"), Digest::sha256_of(b"second"));
    assert!(tier.open(&LayerDescriptor::new(second)).await.unwrap().is_some());
    let field = |line: &str, field: &str| assert!(line.contains(field), "{field} is not in {line}");
    let path = |digest: &Digest| format!("path={}/layer-{}.decompressed", dir.display(), digest.hex());

    let opened = log.line("initialized OCI storage with disk cache");
    field(&opened, "INFO");
    field(&opened, &format!("path={}", dir.display()));
    let evicted = log.line("evicted layer from disk");
    field(&evicted, "INFO");
    field(&evicted, &format!("digest={first}"));
    let hit = log.line("disk cache hit");
    for part in ["DEBUG", "bytes=1000", &path(&second), &format!("digest={second}")] {
        field(&hit, part);
    }
    let both = log.text();
    for digest in [first, second] {
        let line = both.lines().find(|line| {
            line.contains("layer decompressed and cached to disk") && line.contains(&digest.to_string())
        });
        for part in ["INFO", "bytes=1000", "duration=", &path(&digest)] {
            field(line.unwrap(), part);
        }
    }

    // What is done without is said once, however often it is tried.
    std::fs::write(dir.join("quarantine"), "not a directory").unwrap();
    for _ in 0..2 {
        tier.usage().await.unwrap();
    }
    field(&log.line("what is in quarantine is left alone"), "WARN");
    let said = |text: &str| text.matches("what is in quarantine is left alone").count();
    assert_eq!(said(&log.text()), 1);
    std::fs::remove_file(dir.join("quarantine")).unwrap();
    tier.usage().await.unwrap();
    std::fs::write(dir.join("quarantine"), "not a directory").unwrap();
    tier.usage().await.unwrap();
    assert_eq!(said(&log.text()), 2);
}

//! The events that operators grep for. Alone in its binary: what other threads have met without a subscriber is passed over.

#[allow(dead_code, reason = "other tests need more")]
#[path = "s3/support.rs"]
mod support;

use cache_core::LayerSource;
use cache_testkit::Log;

use support::{Layer, Raw, fill, open, prefix, server, tier_at};

/// On a runtime of this thread alone, which all tasks run on.
#[tokio::test]
async fn what_operators_grep_for_is_said_once_and_with_its_fields() {
    let log = Log::listen("cache_remote_s3=debug");

    let prefix = prefix();
    let tier = tier_at(server(), &prefix);
    let (layer, wrong) = (Layer::new(1, 1000), Layer::new(2, 1000));
    fill(&tier, &layer).await;
    open(&tier, &layer).await;
    let raw = Raw::new(&prefix);
    raw.put(wrong.digest(), "", "short").await;
    raw.put(wrong.digest(), ":index", wrong.sealed()).await;
    tier.open(&wrong.descriptor).await.unwrap_err();

    for (level, message, layer) in [
        (" INFO ", "cached decompressed layer to remote cache", &layer),
        ("DEBUG ", "remote cache hit", &layer),
        ("DEBUG ", "remote cache lookup error", &wrong),
    ] {
        let line = log.line(message);
        assert!(line.contains(level), "{line}");
        assert!(
            line.contains(&layer.digest().to_string()) && line.contains("tier=s3"),
            "{line}"
        );
    }
    assert!(log.line("remote cache hit").contains("bytes=1000"));
    assert!(log.line("remote cache lookup error").contains("has 5 bytes"));
}

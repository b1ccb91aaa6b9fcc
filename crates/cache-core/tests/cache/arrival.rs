//! Who brings a layer is told where it came from.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use cache_core::guard::{Guarded, Operation, Policy};
use cache_core::{Copying, SourceOptions};

async fn bring(cache: &LayerCache, layer: &LayerDescriptor) -> (Option<String>, Option<String>, Option<u64>) {
    let arrival = cache.bring(layer).await.unwrap();
    let owned = |name: Option<&str>| name.map(str::to_owned);
    let (from, at) = (owned(arrival.came_from()), owned(arrival.held_by()));
    (from, at, arrival.reader().len())
}

fn names(from: &str, at: &str, len: u64) -> (Option<String>, Option<String>, Option<u64>) {
    (Some(from.to_owned()), Some(at.to_owned()), Some(len))
}

#[tokio::test]
async fn what_was_filled_came_from_where_it_was_found_and_what_was_there_from_there() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    for fill in [Copying::Inline, Copying::Background] {
        for far in [Script::far("far", &bytes, []), Script::origin("far", &bytes, [])] {
            let cache = LayerCache::builder()
                .tier(memory("near"))
                .source_with(far, SourceOptions::default().with_fill(fill))
                .build()
                .unwrap();
            assert_eq!(bring(&cache, &layer).await, names("far", "near", 20_000));
            assert_eq!(bring(&cache, &layer).await, names("near", "near", 20_000));
        }
    }
}

#[tokio::test]
async fn what_is_read_where_it_was_found_is_held_there() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .source_with(
            Script::far("far", &bytes, []),
            SourceOptions::default().with_fill(Copying::Off),
        )
        .build()
        .unwrap();
    let arrival = cache.bring(&layer).await.unwrap();
    assert_eq!(
        (arrival.came_from(), arrival.held_by()),
        (Some("far"), Some("far"))
    );
    let nowhere = LayerCache::builder().tier(memory("near")).build().unwrap();
    let error = nowhere.bring(&layer).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.layer()),
        (ErrorKind::NotFound, Some(&layer.digest))
    );
}

#[tokio::test]
async fn a_source_that_fails_brings_nothing() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let cut = Script::origin("cut", &bytes, [Act::CutAt(5_000, cut())]);
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .source(cut)
        .source(Script::origin("whole", &bytes, []))
        .build()
        .unwrap();
    assert_eq!(bring(&cache, &layer).await, names("whole", "near", 20_000));
}

/// The copy fails with the only source, whose layer was served from the beginning: reading goes on there.
#[tokio::test]
async fn what_was_served_and_could_not_be_copied_is_held_where_it_was_found() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let far = Script::far("far", &bytes, [Act::CutAt(5_000, cut())]);
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .source_with(far, SourceOptions::default().with_fill(Copying::Background))
        .build()
        .unwrap();
    let arrival = cache.bring(&layer).await.unwrap();
    assert_eq!(
        (arrival.came_from(), arrival.held_by()),
        (Some("far"), Some("far"))
    );
    assert_eq!(arrival.reader().len(), None);
}

/// A tier refuses at once, or in the middle; and what refuses may be behind one that has taken it.
#[tokio::test]
async fn a_tier_that_does_not_take_a_layer_has_its_reason_told() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let full = |full_at| {
        Arc::new(Faulty {
            inner: MemoryTier::new("full", 1 << 30),
            full_at,
            read_while_write: true,
        })
    };
    for full_at in [0, 5_000] {
        let origin = Script::origin("origin", &bytes, []);
        let alone = LayerCache::builder()
            .tier(full(full_at))
            .source(Arc::clone(&origin) as _);
        let arrival = alone.build().unwrap().bring(&layer).await.unwrap();
        assert_eq!(
            (arrival.held_by(), arrival.reader().len()),
            (Some("origin"), None)
        );
        assert_eq!(arrival.refused().unwrap().tier(), Some("full"));

        let second = LayerCache::builder()
            .tier(full(full_at))
            .tier(memory("near"))
            .source(origin);
        let arrival = second.build().unwrap().bring(&layer).await.unwrap();
        assert_eq!(
            (arrival.held_by(), arrival.reader().len()),
            (Some("near"), Some(20_000))
        );
        assert_eq!(arrival.refused().unwrap().tier(), Some("full"));
    }
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .source(Script::origin("origin", &bytes, []));
    assert!(
        cache
            .build()
            .unwrap()
            .bring(&layer)
            .await
            .unwrap()
            .refused()
            .is_none()
    );
}

/// Refuses the first claim.
#[derive(Clone, Debug, Default)]
struct RefusesOnce(Arc<AtomicBool>);

impl Policy for RefusesOnce {
    async fn run<T: Send>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        if operation == Operation::Create && !self.0.swap(true, Ordering::Relaxed) {
            return Err(Error::unavailable("not now"));
        }
        work.await
    }
}

#[tokio::test]
async fn a_tier_that_takes_a_layer_in_the_end_has_not_refused_it() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let cache = LayerCache::builder()
        .tier(Arc::new(Guarded::with_policy(
            memory("near"),
            RefusesOnce::default(),
        )))
        .tier(memory("second"))
        .source(Script::origin("cut", &bytes, [Act::CutAt(5_000, cut())]))
        .source(Script::origin("whole", &bytes, []))
        .build()
        .unwrap();
    let arrival = cache.bring(&layer).await.unwrap();
    assert_eq!(arrival.held_by(), Some("near"));
    assert!(arrival.refused().is_none());
}

/// A tier that is not read while it is written gets its copy from where the layer is held, which may be where it was found.
#[tokio::test]
async fn further_copies_are_told_wherever_they_are_made_from() {
    let bytes = layer_bytes(20_000);
    let layer = descriptor(&bytes);
    let shared = || Faulty::shared(MemoryTier::new("shared", 1 << 30));
    for write_back in [Copying::Inline, Copying::Background, Copying::Off] {
        let options = SourceOptions::default().with_write_back(write_back);
        let copies: &[&str] = if write_back == Copying::Off {
            &[]
        } else {
            &["shared"]
        };
        let in_place = LayerCache::builder()
            .tier_with(shared(), options.clone())
            .source(Script::far("far", &bytes, []))
            .build()
            .unwrap();
        let arrival = in_place.bring(&layer).await.unwrap();
        assert_eq!(
            (arrival.came_from(), arrival.held_by(), &*arrival.copied_to()),
            (Some("far"), Some("far"), copies)
        );
        let through_near = LayerCache::builder()
            .tier(memory("near"))
            .tier_with(shared(), options)
            .source(Script::origin("far", &bytes, []))
            .build()
            .unwrap();
        let arrival = through_near.bring(&layer).await.unwrap();
        assert_eq!(
            (arrival.came_from(), arrival.held_by(), &*arrival.copied_to()),
            (Some("far"), Some("near"), copies)
        );
        let arrival = through_near.bring(&layer).await.unwrap();
        assert!(arrival.copied_to().is_empty());
    }
}

//! One search and one fill, whoever comes and goes, and however they end.

use super::*;
use cache_core::ErrorKind;

fn cache_of(near: &Shelf, origins: &[&Arc<Origin>]) -> LayerCache {
    let tier = LayerCache::builder().tier(Arc::new(near.clone()));
    let cache = origins
        .iter()
        .fold(tier, |cache, origin| cache.source(Arc::new(Arc::clone(*origin))));
    cache.build().unwrap()
}

#[test]
fn readers_of_a_cold_layer_cost_one_stream() {
    explore(|| async {
        let (near, origin) = (Shelf::local("near"), Origin::new("origin", LAYER, &[]));
        let cache = cache_of(&near, &[&origin]);
        let layer = descriptor(LAYER);
        for result in read_at_once(&cache, &layer, 3).await {
            assert_eq!(result.unwrap(), LAYER);
        }
        at_rest(&cache, &layer).await;
        assert_eq!((origin.streams(), near.used()), (1, LAYER.len()));
    });
}

#[test]
fn a_reader_that_comes_as_the_layer_arrives_does_not_ask_for_it_again() {
    explore(|| async {
        // Nothing but its own answer tells that this tier has the layer by now.
        let near = Shelf::shared("near");
        let origin = Origin::new("origin", LAYER, &[]);
        let cache = cache_of(&near, &[&origin]);
        let layer = descriptor(LAYER);
        for result in read_at_once(&cache, &layer, 2).await {
            assert_eq!(result.unwrap(), LAYER);
        }
        at_rest(&cache, &layer).await;
        assert_eq!((origin.opens(), near.used()), (1, LAYER.len()));
    });
}

#[test]
fn readers_on_other_terms_cost_no_second_stream() {
    explore(|| async {
        let (near, origin) = (Shelf::local("near"), Origin::new("origin", LAYER, &[]));
        let cache = cache_of(&near, &[&origin]);
        let layer = descriptor(LAYER);
        let sized = layer.clone().with_size(8);
        let other = spawn(read(cache.clone(), sized));
        assert_eq!(read(cache.clone(), layer.clone()).await.unwrap(), LAYER);
        assert_eq!(other.await.unwrap().unwrap(), LAYER);
        at_rest(&cache, &layer).await;
        assert_eq!((origin.streams(), near.used()), (1, LAYER.len()));
    });
}

#[test]
fn a_reader_that_goes_away_cancels_the_fill_for_nobody() {
    explore(|| async {
        let (near, origin) = (Shelf::local("near"), Origin::new("origin", LAYER, &[]));
        let cache = cache_of(&near, &[&origin]);
        let layer = descriptor(LAYER);
        let leaving = spawn(read(cache.clone(), layer.clone()));
        let staying = spawn(read(cache.clone(), layer.clone()));
        leaving.abort();
        assert_eq!(staying.await.unwrap().unwrap(), LAYER);
        let _ = leaving.await;
        at_rest(&cache, &layer).await;
        assert_eq!((origin.streams(), near.used()), (1, LAYER.len()));
    });
}

/// With a source behind the one that fails, no reader notices.
async fn failing_over(act: Act) {
    let near = Shelf::local("near");
    let first = Origin::new("first", LAYER, &[act]);
    let second = Origin::new("second", LAYER, &[]);
    let cache = cache_of(&near, &[&first, &second]);
    let layer = descriptor(LAYER);
    for result in read_at_once(&cache, &layer, 2).await {
        assert_eq!(result.unwrap(), LAYER);
    }
    at_rest(&cache, &layer).await;
    assert_eq!((second.streams(), near.used()), (1, LAYER.len()));
}

#[test]
fn a_source_that_is_cut_is_passed_over() {
    explore(|| failing_over(Act::Cut(2)));
}

#[test]
fn a_source_that_is_wrong_is_passed_over() {
    explore(|| failing_over(Act::Flip(3)));
}

#[test]
fn a_source_that_lacks_the_layer_is_passed_over() {
    explore(|| failing_over(Act::Absent));
}

/// Without one, a reader gets the layer or an error, and whoever comes later gets the layer.
async fn failing_alone(act: Act) {
    let (near, origin) = (Shelf::local("near"), Origin::new("origin", LAYER, &[act]));
    let cache = cache_of(&near, &[&origin]);
    let layer = descriptor(LAYER);
    for result in read_at_once(&cache, &layer, 3).await {
        match result {
            Ok(bytes) => assert_eq!(bytes, LAYER),
            Err(error) => assert_ne!(error.kind(), ErrorKind::NotFound),
        }
    }
    at_rest(&cache, &layer).await;
    assert_eq!(read(cache.clone(), layer.clone()).await.unwrap(), LAYER);
    at_rest(&cache, &layer).await;
    assert_eq!((origin.streams(), near.used()), (2, LAYER.len()));
}

#[test]
fn a_flight_that_is_cut_leaves_nobody_waiting() {
    explore(|| failing_alone(Act::Cut(4)));
}

#[test]
fn a_flight_that_brings_wrong_bytes_leaves_nobody_waiting() {
    explore(|| failing_alone(Act::Flip(4)));
}

#[test]
fn a_flight_that_panics_at_once_leaves_nobody_waiting() {
    explore(|| failing_alone(Act::Panic(0)));
}

#[test]
fn a_flight_that_panics_in_the_middle_leaves_nobody_waiting() {
    explore(|| failing_alone(Act::Panic(4)));
}

#[test]
fn a_false_claim_fails_its_own_image_alone() {
    explore(|| async {
        let (near, origin) = (Shelf::local("near"), Origin::new("origin", LAYER, &[]));
        let cache = cache_of(&near, &[&origin]);
        let (honest, lying) = (descriptor(LAYER), descriptor(b"another tar"));
        let deceived = spawn(read(cache.clone(), lying.clone()));
        assert_eq!(read(cache.clone(), honest.clone()).await.unwrap(), LAYER);
        assert!(deceived.await.unwrap().is_err());
        at_rest(&cache, &honest).await;
        assert!(origin.streams() <= 2);
        assert_eq!(near.used(), LAYER.len());
    });
}

#[test]
fn nothing_begins_or_goes_on_once_the_cache_is_closed() {
    explore(|| async {
        let (near, shared) = (Shelf::local("near"), Shelf::shared("shared"));
        let origin = Origin::new("origin", LAYER, &[]);
        let cache = LayerCache::builder()
            .tier(Arc::new(near.clone()))
            .tier(Arc::new(shared.clone()))
            .source(Arc::new(origin.clone()))
            .build()
            .unwrap();
        let layer = descriptor(LAYER);
        let reader = spawn(read(cache.clone(), layer.clone()));
        let flushed = spawn({
            let cache = cache.clone();
            async move { cache.flush().await }
        });
        cache.close().await;
        assert_at_rest(&cache, &layer);
        let left = (near.used(), shared.used(), origin.streams());
        match reader.await.unwrap() {
            Ok(bytes) => assert_eq!((bytes, left), (LAYER.to_vec(), (LAYER.len(), LAYER.len(), 1))),
            Err(error) => assert_eq!((error.kind(), left), (ErrorKind::Permanent, (0, 0, 0))),
        }
        flushed.await.unwrap();
        assert_at_rest(&cache, &layer);
        assert_eq!((near.used(), shared.used(), origin.streams()), left);
    });
}

#[test]
fn whoever_closes_the_cache_waits_for_whoever_is_about_to_take_off() {
    explore(|| async {
        let cache = LayerCache::builder().source(memory("far")).build().unwrap();
        let layer = descriptor(LAYER);
        let reader = spawn(read(cache.clone(), layer.clone()));
        cache.close().await;
        assert_at_rest(&cache, &layer);
        assert!(reader.await.unwrap().is_err());
        assert_at_rest(&cache, &layer);
    });
}

#[test]
fn fills_that_wait_for_their_turn_get_it() {
    explore(|| async {
        let near = memory("near");
        let origin = Origin::new("origin", LAYER, &[Act::Serve, Act::Cut(2)]);
        let cache = LayerCache::builder()
            .tier(near)
            .source(Arc::new(origin))
            .max_concurrent_fills(1)
            .build()
            .unwrap();
        let layers = [0, 1, 2].map(|blob: u8| {
            LayerDescriptor::new(cache_core::Digest::sha256_of(&[blob]))
                .with_diff_id(cache_core::Digest::sha256_of(LAYER))
        });
        let readers = layers.clone().map(|layer| spawn(read(cache.clone(), layer)));
        let mut failed = 0;
        for reader in readers {
            failed += usize::from(reader.await.unwrap().is_err());
        }
        assert_eq!(failed, 1);
        cache.flush().await;
    });
}

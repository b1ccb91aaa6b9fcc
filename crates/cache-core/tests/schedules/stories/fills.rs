//! Tiers that are filled, or not, while they are read.

use super::*;

#[test]
fn a_layer_that_cannot_be_committed_is_read_where_it_was_found() {
    explore(|| async {
        let near = Shelf::local("near").failing_commits(1);
        let origin = Origin::new("origin", LAYER, &[]);
        let cache = LayerCache::builder()
            .tier(Arc::new(near.clone()))
            .source(Arc::new(origin.clone()))
            .build()
            .unwrap();
        let layer = descriptor(LAYER);
        for result in read_at_once(&cache, &layer, 2).await {
            assert_eq!(result.unwrap(), LAYER);
        }
        at_rest(&cache, &layer).await;
        assert!([0, LAYER.len()].contains(&near.used()));
    });
}

#[test]
fn a_tier_that_runs_full_is_left_as_it_was() {
    explore(|| async {
        let near = Shelf::local("near").full_at(3);
        let shared = Shelf::shared("shared");
        let origin = Origin::new("origin", LAYER, &[]);
        let cache = LayerCache::builder()
            .tier(Arc::new(near.clone()))
            .tier(Arc::new(shared.clone()))
            .source(Arc::new(origin.clone()))
            .build()
            .unwrap();
        let layer = descriptor(LAYER);
        for result in read_at_once(&cache, &layer, 2).await {
            assert_eq!(result.unwrap(), LAYER);
        }
        at_rest(&cache, &layer).await;
        assert_eq!((near.used(), shared.used()), (0, LAYER.len()));
    });
}

#[test]
fn whoever_has_flushed_finds_the_layer_in_every_tier() {
    explore(|| async {
        let near = Shelf::local("near");
        // It takes as many attempts as a write-back has.
        let shared = Shelf::shared("shared").failing_commits(3);
        let origin = Origin::new("origin", LAYER, &[]);
        let cache = LayerCache::builder()
            .tier(Arc::new(near.clone()))
            .tier(Arc::new(shared.clone()))
            .source(Arc::new(origin.clone()))
            .build()
            .unwrap();
        let layer = descriptor(LAYER);
        for result in read_at_once(&cache, &layer, 2).await {
            assert_eq!(result.unwrap(), LAYER);
        }
        at_rest(&cache, &layer).await;
        let used = (near.used(), shared.used());
        assert_eq!((used, origin.streams()), ((LAYER.len(), LAYER.len()), 1));
    });
}

#[test]
fn a_layer_is_published_while_it_is_written_back() {
    explore(|| async {
        let (near, shared) = (Shelf::local("near"), Shelf::shared("shared").failing_commits(1));
        let origin = Origin::new("origin", LAYER, &[]);
        let cache = LayerCache::builder()
            .tier(Arc::new(near.clone()))
            .tier(Arc::new(shared.clone()))
            .source(Arc::new(origin.clone()))
            .build()
            .unwrap();
        let layer = descriptor(LAYER);
        assert_eq!(read(cache.clone(), layer.clone()).await.unwrap(), LAYER);
        let publications = cache.publish(&layer).await.unwrap();
        assert!(publications.iter().all(|publication| publication.written.is_ok()));
        at_rest(&cache, &layer).await;
        assert_eq!((near.used(), shared.used()), (LAYER.len(), LAYER.len()));
    });
}

#[test]
fn a_panic_of_a_write_back_gives_everything_back() {
    explore(|| async {
        let far = Origin::far("far", LAYER, &[Act::Panic(2)]);
        let shared = Shelf::shared("shared");
        let cache = LayerCache::builder()
            .tier(Arc::new(shared.clone()))
            .source(Arc::new(far))
            .build()
            .unwrap();
        let layer = descriptor(LAYER);
        // What can be read at offsets is read where it is, and copied from there.
        assert!(cache.get(&layer).await.is_ok());
        at_rest(&cache, &layer).await;
        assert_eq!(shared.used(), 0);
    });
}

//! A look at a layer leaves no trace.

use std::fs;
use std::time::SystemTime;

use cache_core::{Digest, ErrorKind, LayerReaderExt, LayerSource, LayerSourceExt, Probe, Tier};

use crate::support::{Cache, Layer, fill, is_cached};

/// The time of each file's last change, which a use of a layer sets.
fn times(cache: &Cache) -> Vec<(String, SystemTime)> {
    let time = |name: String| {
        let modified = fs::metadata(cache.dir().join(&name)).unwrap().modified().unwrap();
        (name, modified)
    };
    cache.files().into_iter().map(time).collect()
}

#[tokio::test]
async fn a_look_tells_what_there_is_and_changes_nothing() {
    let cache = Cache::new();
    let layer = Layer::new(1, 100_000);
    assert!(matches!(
        cache.tier().probe(&layer.descriptor).await.unwrap(),
        Probe::Absent
    ));
    let small = cache.config().with_max_bytes(1000).open().unwrap();
    let sized = layer.descriptor.clone().with_size(100_000);
    let Probe::Refused(error) = small.probe(&sized).await.unwrap() else {
        panic!("it does not fit")
    };
    assert_eq!(
        error.to_string(),
        small.create(&sized).await.unwrap_err().to_string()
    );
    fill(&cache.tier(), &layer).await;
    cache.age(&layer, 3600);
    let before = times(&cache);
    // A tier that has not seen the layer yet, as each process is at first.
    let tier = cache.tier();
    let Probe::Present(reader) = tier.probe(&layer.descriptor).await.unwrap() else {
        panic!("the layer is there")
    };
    assert_eq!(
        reader.read_bytes(99_990, 20).await.unwrap(),
        layer.bytes[99_990..]
    );
    // Eviction passes over a layer that cannot be locked.
    let file = || fs::File::open(cache.path(&layer, "decompressed")).unwrap();
    file().try_lock().unwrap();
    drop(reader);
    assert_eq!(times(&cache), before);

    // An opening is a use, by which this test would notice.
    let opened = tier.get(&layer.descriptor).await.unwrap();
    assert_ne!(times(&cache), before);
    assert!(file().try_lock().is_err());
    drop(opened);
}

#[tokio::test]
async fn a_lost_index_is_not_rebuilt_by_a_look() {
    let cache = Cache::new();
    let layer = Layer::new(1, 100_000);
    fill(&cache.tier(), &layer).await;
    fs::remove_file(cache.path(&layer, "index")).unwrap();
    let before = times(&cache);
    assert!(matches!(
        cache.tier().probe(&layer.descriptor).await.unwrap(),
        Probe::Unverified
    ));
    assert_eq!(times(&cache), before);
    assert!(is_cached(&cache.tier(), &layer).await);
    assert_eq!(cache.files(), Cache::files_of(&[&layer]));
}

#[tokio::test]
async fn a_look_says_what_is_wrong() {
    let cache = Cache::new();
    let layer = Layer::new(1, 100_000);
    fill(&cache.tier(), &layer).await;
    let mut claimed = layer.descriptor.clone();
    claimed.diff_id = Some(Digest::sha256_of(b"another layer"));
    let error = cache.tier().probe(&claimed).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.tier(), error.layer()),
        (ErrorKind::Invalid, Some("disk"), Some(layer.digest()))
    );

    let path = cache.path(&layer, "decompressed");
    fs::remove_file(&path).unwrap();
    fs::write(&path, &layer.bytes[..50_000]).unwrap();
    let error = cache.tier().probe(&layer.descriptor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    // What is wrong is removed by whoever opens it, through the cache.
    assert_eq!(cache.files(), Cache::files_of(&[&layer]));
}

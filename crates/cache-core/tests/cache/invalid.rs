//! An image that was refuted is served nowhere: no other source is asked, and nobody waits for one.

use super::*;
use cache_core::{Copying, SourceOptions};

fn refuted() -> Error {
    Error::invalid("the image claims another diff ID")
}

#[tokio::test]
async fn an_opening_that_refutes_the_image_is_the_last() {
    let bytes = layer_bytes(1000);
    // The nearest source is asked by itself, and others in a search.
    for is_nearest in [true, false] {
        let far = Script::far("far", &bytes, [Act::Fail(refuted())]);
        let other = Script::far("other", &bytes, []);
        let mut cache = LayerCache::builder();
        if !is_nearest {
            cache = cache.source(Script::far("near", &bytes, [Act::Absent]));
        }
        let cache = cache.source(far).source(other.clone()).build().unwrap();
        let error = cache.open(&descriptor(&bytes)).await.unwrap_err();
        assert_eq!((error.kind(), other.opens()), (ErrorKind::Invalid, 0));
    }
}

#[tokio::test]
async fn so_is_a_read() {
    let bytes = layer_bytes(1000);
    let far = Script::far("far", &bytes, [Act::CutAt(500, refuted())]);
    let other = Script::far("other", &bytes, []);
    let cache = LayerCache::builder()
        .source(far.clone())
        .source(other.clone())
        .build()
        .unwrap();
    let reader = cache.get(&descriptor(&bytes)).await.unwrap();
    assert_eq!(reader.read_bytes(0, 500).await.unwrap(), bytes[..500]);
    let error = reader.read_bytes(0, 501).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!((far.opens(), other.opens()), (1, 0));
}

/// Beside a fill that would go on for long.
#[tokio::test]
async fn so_is_a_read_where_the_layer_is_copied_from() {
    let bytes = layer_bytes(20_000);
    let far = Script::far("far", &bytes, [Act::CutAt(10_000, refuted())]).gated(0);
    let cache = LayerCache::builder()
        .tier(memory("near"))
        .source_with(far, SourceOptions::default().with_fill(Copying::Background))
        .build()
        .unwrap();
    let reader = cache.get(&descriptor(&bytes)).await.unwrap();
    assert_eq!(reader.read_bytes(0, 1000).await.unwrap(), bytes[..1000]);
    let read = reader.read_bytes(15_000, 1000).now_or_never().expect("it waits");
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Invalid);
}

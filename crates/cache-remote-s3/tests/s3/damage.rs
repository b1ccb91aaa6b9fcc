//! What is wrong in the bucket is a miss or corrupt, and never read.

use axum::http::Method;
use cache_core::index::Seal;
use cache_core::{ErrorKind, LayerDescriptor, LayerReaderExt, LayerSource, Tier};
use cache_remote_s3::S3Tier;
use cache_testkit::{Fault, FaultProxy};

use crate::front::{Front, Seen, Verdict};
use crate::support::{
    CHUNK, Layer, PART, Raw, config_at, fill, open, prefix, read_all, server, tier_at, try_fill,
};

async fn error_of(tier: &S3Tier, layer: &Layer) -> ErrorKind {
    let error = tier.open(&layer.descriptor).await.unwrap_err();
    assert_eq!((error.tier(), error.layer()), (Some("s3"), Some(layer.digest())));
    error.kind()
}

#[tokio::test]
async fn half_a_layer_is_a_miss() {
    let prefix = prefix();
    let (tier, raw) = (tier_at(server(), &prefix), Raw::new(&prefix));
    let layer = Layer::new(1, 1000);
    raw.put(layer.digest(), ":index", layer.sealed()).await;
    assert!(tier.open(&layer.descriptor).await.unwrap().is_none());
    raw.put(layer.digest(), "", layer.bytes.clone()).await;
    assert!(tier.open(&layer.descriptor).await.unwrap().is_some());
    raw.delete(layer.digest(), ":index").await;
    assert!(tier.open(&layer.descriptor).await.unwrap().is_none());
    assert!(!tier.remove(layer.digest()).await.unwrap());
    assert!(
        raw.names().await.is_empty(),
        "an object without an index goes as well"
    );
}

#[tokio::test]
async fn what_contradicts_the_index_is_corrupt_and_is_replaced_by_the_next_writer() {
    let layer = Layer::new(1, 3 * CHUNK);
    let other = Layer::new(2, 3 * CHUNK);
    let cut = layer.bytes.slice(..layer.bytes.len() - 1);
    let mut damaged_index = layer.sealed().to_vec();
    damaged_index[200] ^= 1;
    for (object, index) in [
        (cut, layer.sealed()),
        (layer.bytes.clone(), other.sealed()),
        (layer.bytes.clone(), damaged_index.into()),
        (layer.bytes.clone(), layer.sealed().slice(..100)),
        (layer.bytes.clone(), "".into()),
    ] {
        let prefix = prefix();
        let (tier, raw) = (tier_at(server(), &prefix), Raw::new(&prefix));
        raw.put(layer.digest(), "", object).await;
        raw.put(layer.digest(), ":index", index).await;
        assert_eq!(error_of(&tier, &layer).await, ErrorKind::Corrupt);
        let reader = fill(&tier, &layer).await;
        assert!(read_all(&reader).await.unwrap() == layer.bytes);
        assert!(read_all(&open(&tier, &layer).await).await.unwrap() == layer.bytes);
    }
}

#[tokio::test]
async fn a_bit_that_flipped_is_found_by_the_read_that_meets_it() {
    let prefix = prefix();
    let (tier, raw) = (tier_at(server(), &prefix), Raw::new(&prefix));
    let layer = Layer::new(1, 4 * CHUNK);
    let mut bytes = layer.bytes.to_vec();
    bytes[2 * CHUNK + 99] ^= 4;
    raw.put(layer.digest(), "", bytes).await;
    raw.put(layer.digest(), ":index", layer.sealed()).await;
    let reader = open(&tier, &layer).await;
    assert_eq!(reader.read_bytes(0, CHUNK).await.unwrap(), layer.bytes[..CHUNK]);
    let error = reader.read_bytes(2 * CHUNK as u64, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(read_all(&reader).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_bit_that_flips_on_the_way_is_found() {
    let proxy = FaultProxy::start(server()).await;
    let prefix = prefix();
    let layer = Layer::new(1, CHUNK);
    let reader = fill(&tier_at(proxy.address(), &prefix), &layer).await;
    proxy.set(Fault::FlipBit { at: 100_000 });
    let error = reader.read_bytes(0, 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

/// The server, behind something that changes the last byte of certain requests.
async fn damaging(which: fn(&Seen) -> bool) -> Front {
    let rule = move |seen: &Seen| match which(seen) {
        true => Verdict::Damage,
        false => Verdict::Pass,
    };
    Front::start(server(), rule).await
}

#[tokio::test]
async fn what_is_changed_on_its_way_to_the_server_is_refused() {
    let written_alone = |seen: &Seen| seen.method == Method::PUT && !seen.is_part() && !seen.is_index();
    let index = |seen: &Seen| seen.method == Method::PUT && seen.is_index();
    for (which, len, parts_signed) in [
        (Seen::is_part as fn(&Seen) -> bool, PART + CHUNK, None),
        // These are signed in any case.
        (written_alone, CHUNK, Some(false)),
        (index, CHUNK, Some(false)),
        (index, PART + CHUNK, Some(false)),
    ] {
        let front = damaging(which).await;
        let config = config_at(front.address, &prefix()).with_payload_signing(parts_signed);
        let (tier, layer) = (S3Tier::new(config).unwrap(), Layer::new(1, len));
        assert!(try_fill(&tier, &layer).await.is_err(), "{len}");
        assert!(tier.open(&layer.descriptor).await.unwrap().is_none(), "{len}");
    }
}

#[tokio::test]
async fn a_part_that_is_not_signed_and_is_changed_is_found_by_whoever_reads_it() {
    let front = damaging(|seen| seen.target.contains("partNumber=2")).await;
    let config = config_at(front.address, &prefix()).with_payload_signing(Some(false));
    let (tier, layer) = (S3Tier::new(config).unwrap(), Layer::new(1, PART + CHUNK));
    let reader = fill(&tier, &layer).await;
    assert_eq!(reader.read_bytes(0, CHUNK).await.unwrap(), layer.bytes[..CHUNK]);
    let error = reader.read_bytes(PART as u64, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn an_index_counts_only_with_the_seal_of_the_deployment() {
    let prefix = prefix();
    let keyed = |secret: &[u8]| {
        let config = config_at(server(), &prefix).with_seal(Seal::keyed(secret).unwrap());
        S3Tier::new(config).unwrap()
    };
    let (ours, theirs, plain) = (
        keyed(b"the deployment's key"),
        keyed(b"another key, as long"),
        tier_at(server(), &prefix),
    );
    let layer = Layer::new(1, 100);
    fill(&ours, &layer).await;
    assert_eq!(error_of(&theirs, &layer).await, ErrorKind::Corrupt);
    assert_eq!(error_of(&plain, &layer).await, ErrorKind::Corrupt);
    // A sealed index vouches for a layer whose diff ID the image does not tell.
    let unknown = LayerDescriptor::new(*layer.digest());
    assert!(ours.open(&unknown).await.unwrap().is_some());

    // Whoever can write to the bucket but has no key.
    let (forged, raw) = (Layer::new(2, 100), Raw::new(&prefix));
    raw.put(layer.digest(), "", forged.bytes.clone()).await;
    let mut index = cache_core::index::IndexBuilder::new(cache_core::Algorithm::Sha256);
    index.update(&forged.bytes);
    let index = Seal::plain().encode(&index.finish(*layer.digest()));
    raw.put(layer.digest(), ":index", index).await;
    assert_eq!(error_of(&ours, &layer).await, ErrorKind::Corrupt);
    assert_eq!(error_of(&plain, &layer).await, ErrorKind::Disputed);
    let error = plain.open(&unknown).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
}

#[tokio::test]
async fn an_index_that_is_too_long_is_not_read() {
    let proxy = FaultProxy::start(server()).await;
    let prefix = prefix();
    let layer = Layer::new(1, 100);
    let raw = Raw::new(&prefix);
    raw.put(layer.digest(), "", layer.bytes.clone()).await;
    raw.put(layer.digest(), ":index", vec![0; 20 << 20]).await;
    let config = config_at(proxy.address(), &prefix).with_max_layer_bytes(1 << 20);
    assert_eq!(
        error_of(&S3Tier::new(config).unwrap(), &layer).await,
        ErrorKind::Corrupt
    );
    // What was on its way when the connection was closed.
    let moved = proxy.traffic().from_upstream;
    assert!(moved < 10 << 20, "{moved} bytes were read");
}

#[tokio::test]
async fn a_layer_that_is_too_long_is_not_written() {
    let prefix = prefix();
    let config = config_at(server(), &prefix).with_max_layer_bytes(1000);
    let tier = S3Tier::new(config).unwrap();
    let error = crate::support::try_fill(&tier, &Layer::new(1, 1001))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    fill(&tier, &Layer::new(1, 1000)).await;
}

//! Laws of what a tier claims to be able to do.

use std::sync::Arc;

use cache_core::guard::{
    Breaker, BreakerConfig, Limit, Metered, ReadOnly, Retry, RetryConfig, Timeout, TimeoutConfig,
};
use cache_core::{Capabilities, ErrorKind, LayerCache, LayerSource, Role};
use futures_util::StreamExt;

use super::sample::CHUNK;
use super::steps::{claim, fill, named, opened, well};
use super::{Sample, TierSubject};

/// `role` and `capabilities` are "constant over its life", and `name` is "a short, constant name"
/// ([`LayerSource`]).
pub async fn capabilities_and_name_are_constant(subject: &TierSubject) {
    let tier = &*subject.tier;
    let before = constants(tier);
    let sample = Sample::random(CHUNK + 1);
    let mut writer = claim(tier, &sample).await;
    well(writer.write(sample.bytes.clone()).await, "write");
    assert_eq!(constants(tier), before, "while a layer is written");
    well(writer.commit(&sample.index).await, "commit");
    assert_eq!(constants(tier), before, "after a layer was committed");
    well(tier.remove(sample.digest()).await, "remove");
    assert_eq!(constants(tier), before, "after a layer was removed");
}

/// What has to stay as it is.
pub(super) fn constants(source: &dyn LayerSource) -> (String, Role, Capabilities) {
    let name = source.name().to_owned();
    assert!(!name.is_empty() && name.len() <= 64, "a short name, not {name:?}");
    (name, source.role(), source.capabilities())
}

/// "A wrapper has the role of the source inside, and a cache the role of the nearest of its sources"
/// ([`LayerSource::role`]); and a tier is no origin, which "keeps no layers" ([`Role::Origin`]).
pub async fn every_wrapper_has_its_role(subject: &TierSubject) {
    let role = subject.tier.role();
    assert_ne!(role, Role::Origin, "the role of a tier, which keeps layers");
    let sample = Sample::random(1000);
    fill(&*subject.tier, &sample).await;
    wrapped(&subject.tier, &sample).await;
}

/// Wraps a source in all that there is, and compares the roles, and how its layer is read.
pub(super) async fn wrapped<S: LayerSource + ?Sized>(source: &Arc<S>, layer: &Sample) {
    let inner = || Arc::clone(source);
    let cache = LayerCache::builder().source(Arc::new(inner())).build();
    let wrappers: [Box<dyn LayerSource>; 8] = [
        Box::new(inner()),
        Box::new(Metered::new(inner())),
        Box::new(ReadOnly::new(inner())),
        Box::new(Timeout::new(inner(), TimeoutConfig::default())),
        Box::new(Retry::new(inner(), RetryConfig::default())),
        Box::new(Breaker::new(inner(), BreakerConfig::default())),
        Box::new(Limit::new(inner(), 2)),
        Box::new(well(cache, "composing a cache")),
    ];
    let random_access = opened(&inner(), layer).await.random_access();
    for wrapper in &wrappers {
        assert_eq!(wrapper.role(), source.role(), "the role of {wrapper:?}");
        let reader = opened(&**wrapper, layer).await;
        assert_eq!(
            reader.random_access(),
            random_access,
            "reading through {wrapper:?}"
        );
    }
}

/// Without `list` "the list is one `Permanent` error"; a writer has a reader of what was written only "if this tier claims
/// `read_while_write`" ([`Capabilities`](cache_core::Capabilities), [`LayerWriter`](cache_core::LayerWriter)). And what is
/// claimed is there.
pub async fn what_is_not_claimed_says_so(subject: &TierSubject) {
    let tier = &*subject.tier;
    let sample = Sample::random(1000);
    let mut writer = claim(tier, &sample).await;
    let reads = tier.capabilities().read_while_write;
    assert_eq!(writer.partial().is_some(), reads, "a reader of nothing yet");
    well(writer.write(sample.bytes.clone()).await, "write");
    assert_eq!(writer.partial().is_some(), reads, "a reader of what was written");
    drop(writer);
    fill(tier, &sample).await;

    let list: Vec<_> = tier.list().collect().await;
    if tier.capabilities().list {
        assert!(
            list.iter().all(Result::is_ok),
            "the list of a tier that is well: {list:?}"
        );
        return;
    }
    let [Err(error)] = &list[..] else {
        panic!("a list that is not claimed is one error, not {list:?}");
    };
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error:?}");
    named(error, tier, None);
}

//! Laws of what a tier claims to be able to do.

use cache_core::{ErrorKind, LayerSource};
use futures_util::StreamExt;

use super::sample::CHUNK;
use super::steps::{claim, fill, named, well};
use super::{Sample, TierSubject};

/// `capabilities` are "constant over its life", and `name` is "a short, constant name"
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
pub(super) fn constants(source: &dyn LayerSource) -> (String, cache_core::Capabilities) {
    let name = source.name().to_owned();
    assert!(!name.is_empty() && name.len() <= 64, "a short name, not {name:?}");
    (name, source.capabilities())
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

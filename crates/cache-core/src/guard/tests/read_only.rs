use super::*;

#[tokio::test]
async fn a_read_only_tier_is_read_and_listed_and_nothing_else() {
    let (tier, script) = far().await;
    let tier = ReadOnly::new(tier);
    for (result, operation) in [
        (tier.create(&layer()).await.map(drop), "create"),
        (tier.remove(&layer().digest).await.map(drop), "remove"),
    ] {
        let error = failed(result, operation);
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Permanent, "the tier is read-only")
        );
    }
    assert!(script.asked().is_empty());
    assert_eq!(all(opened(&tier).await, 0).await.unwrap(), layer_bytes());
    let listed: Vec<_> = tier.list().try_collect().await.unwrap();
    assert_eq!(listed[0].digest, layer().digest);
    let inner = MemoryTier::new("far", 0).capabilities();
    let capabilities = tier.capabilities();
    assert!(inner.read_while_write && !capabilities.read_while_write);
    assert_eq!(capabilities.with_read_while_write(), inner);
}

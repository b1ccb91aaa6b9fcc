//! What holds for every guard: around a tier that is well it is that tier, and all that it hands out is guarded.

use super::*;

/// All that can be seen of a tier while a layer comes and goes.
async fn transcript(tier: &dyn Tier) -> Vec<String> {
    let mut seen = vec![format!("{} {:?}", tier.name(), tier.capabilities())];
    let layer = layer();
    let bytes = layer_bytes();
    seen.push(format!("{:?}", tier.open(&layer).await.unwrap().is_some()));
    seen.push(format!("{:?}", tier.remove(&layer.digest).await));

    let mut half = writer(tier).await;
    half.write(bytes.slice(..10)).await.unwrap();
    seen.push(format!("{:?}", half.abort().await));
    drop(writer(tier).await);
    let mut full = writer(tier).await;
    seen.push(format!("{:?}", full.write(vec![0; 1 << 20].into()).await));
    drop(full);

    let mut writer = writer(tier).await;
    writer.write(bytes.slice(..PIECE)).await.unwrap();
    let partial = writer.partial().expect("it is readable while it is written");
    seen.push(view(&partial).await);
    writer.write(bytes.slice(PIECE..)).await.unwrap();
    seen.push(view(&partial).await);
    seen.push(list(tier).await);
    let committed = writer.commit(&index()).await.unwrap();
    for reader in [&partial, &committed, &opened(tier).await] {
        seen.push(view(reader).await);
    }
    match tier.create(&layer).await.unwrap() {
        Claim::Exists(reader) => seen.push(view(&reader).await),
        Claim::Write(_) => seen.push("gone".into()),
    }
    let lying = layer.clone().with_diff_id(Digest::sha256_of(b"another layer"));
    seen.push(format!("{:?}", tier.open(&lying).await.map(drop)));
    seen.push(format!("{:?}", tier.create(&lying).await.map(drop)));
    seen.push(list(tier).await);
    seen.push(format!("{:?}", tier.remove(&layer.digest).await));
    seen.push(format!("{:?}", tier.open(&layer).await.unwrap().is_some()));
    seen.push(list(tier).await);
    seen.push(view(&committed).await);
    seen
}

async fn view(reader: &Arc<dyn LayerReader>) -> String {
    let mut seen = format!("{:?} {}", reader.len(), reader.is_empty());
    for (offset, len) in [(0, 1), (500, 2000), (9_990, 100), (10_000, 1), (u64::MAX, 1)] {
        let read = reader.read_bytes(offset, len).await;
        seen += &format!("\n{offset}: {read:?}");
    }
    for offset in [0, 1500, 10_000, u64::MAX] {
        let pieces: Vec<_> = Arc::clone(reader).stream(offset).collect().await;
        seen += &format!("\n{offset}..: {pieces:?}");
    }
    seen
}

async fn list(tier: &dyn Tier) -> String {
    let stats: Result<Vec<_>> = tier
        .list()
        .map_ok(|stat| (stat.digest, stat.len))
        .try_collect()
        .await;
    format!("{stats:?}")
}

fn guard(which: usize, inner: Arc<dyn Tier>) -> Arc<dyn Tier> {
    match which {
        0 => Arc::new(Timeout::new(inner, TimeoutConfig::default())),
        1 => Arc::new(Retry::new(inner, RetryConfig::default())),
        // The tier is too full once, which is no outage.
        2 => Arc::new(Breaker::new(inner, BreakerConfig::default())),
        _ => Arc::new(Limit::new(inner, 1)),
    }
}

fn bare() -> Arc<dyn Tier> {
    Arc::new(MemoryTier::new("far", 100_000))
}

#[tokio::test(start_paused = true)]
async fn each_guard_and_any_stack_of_them_is_the_tier_itself() {
    let expected = transcript(&*bare()).await;
    assert!(expected.iter().any(|line| line.contains("does not fit")));
    let mut stacks: Vec<Vec<usize>> = (0..4).map(|guard| vec![guard]).collect();
    for code in 0..4usize.pow(4) {
        let stack: Vec<usize> = (0..4).map(|place| code / 4usize.pow(place) % 4).collect();
        if (0..4).all(|guard| stack.contains(&guard)) {
            stacks.push(stack);
        }
    }
    assert_eq!(stacks.len(), 4 + 24);
    for stack in stacks {
        let tier = stack.iter().fold(bare(), |tier, which| guard(*which, tier));
        let seen = transcript(&*tier).await;
        for (seen, expected) in seen.iter().zip(&expected) {
            assert_eq!(seen, expected, "{stack:?}");
        }
        assert_eq!(seen.len(), expected.len());
    }
}

/// Whichever way a reader was had, it is guarded: here it is asked twice, as it fails once.
#[tokio::test(start_paused = true)]
async fn all_readers_are_guarded() {
    let (tier, script) = empty();
    let tier = Retry::new(
        Guarded::with_policy(tier, Script::default()),
        RetryConfig::default(),
    );
    let mut writer = writer(&tier).await;
    writer.write(layer_bytes()).await.unwrap();
    let partial = writer.partial().unwrap();
    let committed = writer.commit(&index()).await.unwrap();
    let Claim::Exists(existing) = tier.create(&layer()).await.unwrap() else {
        panic!("it is there")
    };
    for reader in [opened(&tier).await, partial, committed, existing] {
        script.asked();
        script.fail(1);
        assert_eq!(reader.read_bytes(0, 10_000).await.unwrap(), layer_bytes());
        script.fail(1);
        assert_eq!(all(reader, 0).await.unwrap(), layer_bytes());
        let asked = script.asked();
        assert_eq!(
            asked[..4],
            [
                Operation::Read,
                Operation::Read,
                Operation::Stream,
                Operation::Stream
            ]
        );
    }
}

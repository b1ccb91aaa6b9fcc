use super::*;

fn config() -> TimeoutConfig {
    TimeoutConfig {
        operation: secs(2),
        idle: secs(3),
        commit: secs(4),
        create: Some(secs(5)),
    }
}

/// Runs one operation, which stalls, on a tier that has `setup` behind it.
async fn stalled<T: std::fmt::Debug>(
    script: &Script,
    operation: &'static str,
    seconds: u64,
    work: impl Future<Output = Result<T>>,
) {
    script.then([Act::Stall]);
    let begin = Instant::now();
    let error = failed(work.await, operation);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.message(), format!("no answer within {seconds} s"));
    assert_eq!(begin.elapsed().as_secs(), seconds);
    assert_eq!(script.running(), 0, "{operation} goes on");
}

#[tokio::test(start_paused = true)]
async fn whatever_stalls_ends_in_time_and_is_cancelled() {
    let (tier, script) = far().await;
    let tier = Timeout::new(tier, config());
    stalled(&script, "open", 2, tier.open(&layer())).await;
    stalled(&script, "remove", 2, tier.remove(&layer().digest)).await;
    stalled(&script, "create", 5, tier.create(&layer())).await;
    let reader = opened(&tier).await;
    stalled(&script, "read", 2, reader.read_bytes(0, 10)).await;
    let mut stream = reader.stream(0);
    assert_eq!(stream.try_next().await.unwrap().unwrap(), layer_bytes()[..PIECE]);
    stalled(&script, "stream", 3, stream.try_next()).await;
    assert!(stream.next().await.is_none(), "it ends with its first error");

    let (tier, script) = empty();
    let tier = Timeout::new(tier, config());
    let bytes = layer_bytes();
    stalled(&script, "write", 2, writer(&tier).await.write(bytes)).await;
    stalled(&script, "commit", 4, writer(&tier).await.commit(&index())).await;
    stalled(&script, "abort", 2, writer(&tier).await.abort()).await;
    script.then([Act::Stall]);
    let listed: Result<Vec<_>> = tier.list().try_collect().await;
    assert_eq!(listed.unwrap_err().to_string(), "far: list: no answer within 3 s");
}

#[tokio::test(start_paused = true)]
async fn the_consumer_of_a_stream_may_take_its_time() {
    let (tier, _) = far().await;
    let tier = Timeout::new(tier, config());
    let mut stream = opened(&tier).await.stream(0);
    let mut bytes = Vec::new();
    while let Some(piece) = stream.try_next().await.unwrap() {
        bytes.extend_from_slice(&piece);
        advance(HOUR).await;
    }
    assert_eq!(bytes, layer_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_claim_may_wait_for_another_fill_by_default() {
    let (tier, script) = empty();
    let tier = Timeout::new(tier, TimeoutConfig::default());
    script.then([Act::WorkAfter(HOUR)]);
    fill(&tier).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_slow_in_all_but_never_idle_ends_well() {
    let (tier, script) = far().await;
    let tier = Timeout::new(tier, config());
    let reader = opened(&tier).await;
    script.then([Act::WorkAfter(secs(2)); 11]);
    let begin = Instant::now();
    assert_eq!(all(reader, 0).await.unwrap(), layer_bytes());
    assert_eq!(begin.elapsed().as_secs(), 22);
}

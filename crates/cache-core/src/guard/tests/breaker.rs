use super::*;

fn config() -> BreakerConfig {
    BreakerConfig {
        failures: 3,
        cool_down: secs(10),
        max_cool_down: secs(120),
    }
}

/// An open breaker around a tier that works again.
async fn broken() -> (Breaker<Far>, Script) {
    let (tier, script) = far().await;
    let breaker = Breaker::new(tier, config());
    script.fail(3);
    for _ in 0..3 {
        failed(breaker.open(&layer()).await, "open");
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    script.asked();
    (breaker, script)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, operation: &str) {
    let error = failed(result, operation);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().starts_with("the breaker is open: "), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_source_costs_its_time_out_once_and_then_nothing_until_the_probe() {
    let (tier, script) = far().await;
    let tier = Timeout::new(tier, TimeoutConfig::default());
    let once = BreakerConfig {
        failures: 1,
        ..config()
    };
    let tier = Breaker::new(tier, once);
    script.then([Act::Stall, Act::Stall]);
    let begin = Instant::now();
    failed(tier.open(&layer()).await, "open");
    assert_eq!(begin.elapsed().as_secs(), 10);
    let begin = Instant::now();
    for _ in 0..100 {
        refused(tier.open(&layer()).await, "open");
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(script.asked().len(), 1);

    advance(secs(10)).await;
    let error = failed(tier.open(&layer()).await, "open");
    assert_eq!(error.message(), "no answer within 10 s", "it was the probe");
    advance(secs(10) - Duration::from_millis(1)).await;
    refused(tier.open(&layer()).await, "open");
    advance(secs(10)).await;
    opened(&tier).await;
    assert_eq!(tier.state(), BreakerState::Closed);
    assert_eq!(script.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn it_opens_after_failures_in_a_row_and_any_answer_counts_as_one() {
    let (tier, script) = far().await;
    let tier = Breaker::new(tier, config());
    let cut = Act::Fail(ErrorKind::Unavailable);
    for answer in [
        Act::Work,
        Act::Fail(ErrorKind::Corrupt),
        Act::Fail(ErrorKind::Permanent),
        Act::Fail(ErrorKind::Invalid),
        Act::Fail(ErrorKind::NotFound),
    ] {
        script.then([cut, cut, answer, cut, cut, answer]);
        for _ in 0..6 {
            let _ = tier.open(&layer()).await;
        }
        assert_eq!(tier.state(), BreakerState::Closed, "{answer:?}");
    }
    tier.remove(&layer().digest).await.unwrap();
    script.then([cut, cut, Act::Work, cut, cut]);
    for _ in 0..5 {
        let _ = tier.open(&layer()).await;
    }
    assert_eq!(tier.state(), BreakerState::Closed, "absence is an answer");
    script.fail(1);
    failed(tier.open(&layer()).await, "open");
    assert_eq!(tier.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn of_a_hundred_one_is_the_probe() {
    let (tier, script) = broken().await;
    advance(secs(10)).await;
    script.then([Act::WorkAfter(secs(1))]);
    let results = join_all((0..100).map(|_| async {
        let opened = tier.open(&layer()).await;
        (opened, tier.state())
    }))
    .await;
    let (mut probes, mut refusals) = (0, 0);
    for (opened, state) in results {
        match opened {
            Ok(reader) => {
                assert!(reader.is_some());
                assert_eq!(state, BreakerState::Closed);
                probes += 1;
            }
            Err(error) => {
                assert!(error.message().ends_with("a probe is under way"), "{error}");
                assert_eq!(state, BreakerState::HalfOpen);
                refusals += 1;
            }
        }
    }
    assert_eq!((probes, refusals), (1, 99));
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_gives_its_place_to_the_next() {
    let (tier, script) = broken().await;
    advance(secs(10)).await;
    for _ in 0..5 {
        script.then([Act::Stall]);
        assert!(tier.open(&layer()).now_or_never().is_none());
        assert_eq!(tier.state(), BreakerState::Open);
    }
    opened(&tier).await;
    assert_eq!(tier.state(), BreakerState::Closed);
    assert_eq!(script.asked().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn so_does_a_probe_that_panics() {
    let (tier, script) = broken().await;
    let tier = Arc::new(tier);
    advance(secs(10)).await;
    script.then([Act::Panic]);
    let probe = Arc::clone(&tier);
    let probe = tokio::spawn(async move { probe.open(&layer()).await.map(drop) });
    assert!(probe.await.unwrap_err().is_panic());
    assert_eq!(tier.state(), BreakerState::Open);
    opened(&*tier).await;
    assert_eq!(tier.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_nobody_polls_is_given_up_on() {
    let (tier, script) = broken().await;
    advance(secs(10)).await;
    script.then([Act::Stall]);
    let layer = layer();
    let mut stuck = tier.open(&layer);
    assert!((&mut stuck).now_or_never().is_none());
    advance(secs(119)).await;
    refused(tier.open(&layer).await, "open");
    advance(secs(1)).await;
    opened(&tier).await;
    drop(stuck);
    assert_eq!(tier.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn it_stays_open_longer_each_time_up_to_a_bound() {
    let (tier, script) = broken().await;
    script.fail(usize::from(u8::MAX));
    for longest in [10, 20, 40, 80, 120, 120, 120] {
        let begin = Instant::now();
        while script.asked().is_empty() {
            advance(Duration::from_millis(10)).await;
            failed(tier.open(&layer()).await, "open");
        }
        let open = begin.elapsed().as_secs_f64();
        let full = f64::from(longest);
        assert!((full / 2.0..=full + 0.1).contains(&open), "{open} of {full}");
    }
    script.then([]);
    advance(secs(120)).await;
    opened(&tier).await;
    script.fail(3);
    for _ in 0..3 {
        failed(tier.open(&layer()).await, "open");
    }
    advance(secs(10)).await;
    opened(&tier).await;
}

/// What had begun before says nothing new: neither while it is open, nor when it is closed again.
#[tokio::test(start_paused = true)]
async fn operations_that_fail_late_do_not_prolong_an_outage() {
    let (tier, script) = far().await;
    let tier = Breaker::new(tier, config());
    let late = (0..20).map(|i| Act::FailAfter(secs(1 + i)));
    script.then(late.chain([Act::Work]));
    let layer = layer();
    let mut asking: Vec<_> = (0..20).map(|_| tier.open(&layer)).collect();
    for asking in &mut asking {
        assert!(asking.now_or_never().is_none());
    }
    let begin = Instant::now();
    let probed = async {
        tokio::time::sleep(secs(3 + 10)).await;
        opened(&tier).await;
        assert_eq!(tier.state(), BreakerState::Closed);
    };
    let (results, ()) = tokio::join!(join_all(asking), probed);
    assert!(results.iter().all(Result::is_err));
    assert_eq!(begin.elapsed().as_secs(), 20);
    assert_eq!(tier.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn readers_and_writers_are_under_the_same_breaker() {
    let (tier, script) = far().await;
    let tier = Breaker::new(tier, config());
    let reader = opened(&tier).await;
    let mut stream = Arc::clone(&reader).stream(0);
    stream.try_next().await.unwrap().unwrap();
    let other = LayerDescriptor::new(Digest::sha256_of(b"another blob"));
    let Claim::Write(mut writer) = tier.create(&other).await.unwrap() else {
        panic!("it is there already")
    };
    script.fail(3);
    failed(reader.read_bytes(0, 10).await, "read");
    failed(Arc::clone(&reader).stream(0).try_next().await, "stream");
    failed(reader.read_bytes(0, 10).await, "read");
    assert_eq!(tier.state(), BreakerState::Open);
    script.asked();

    refused(reader.read_bytes(0, 10).await, "read");
    refused(stream.try_next().await, "stream");
    assert!(stream.next().await.is_none(), "it ends with its first error");
    refused(tier.remove(&layer().digest).await, "remove");
    refused(tier.create(&layer()).await, "create");
    let error = writer.write(layer_bytes()).await.unwrap_err();
    assert_eq!(error.layer(), Some(&other.digest));
    assert!(writer.commit(&index()).await.is_err());
    let listed: Vec<_> = tier.list().collect().await;
    assert!(matches!(&listed[..], [Err(_)]), "{listed:?}");
    assert!(script.asked().is_empty());

    advance(secs(10)).await;
    reader.read_bytes(0, 10).await.unwrap();
    assert_eq!(tier.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_its_consumer_lets_wait_takes_no_place_and_is_no_failure() {
    let (tier, script) = broken().await;
    advance(secs(10)).await;
    let reader = opened(&tier).await;
    let mut idle = Arc::clone(&reader).stream(0);
    idle.try_next().await.unwrap().unwrap();
    script.fail(3);
    for _ in 0..3 {
        failed(reader.read_bytes(0, 10).await, "read");
    }
    advance(secs(10)).await;
    // The stream's next piece is the probe, and the consumer is busy with it for an hour.
    idle.try_next().await.unwrap().unwrap();
    assert_eq!(tier.state(), BreakerState::Closed);
    advance(HOUR).await;
    reader.read_bytes(0, 10).await.unwrap();
    assert_eq!(idle.count().await, 8);
    assert_eq!(tier.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_why_and_for_how_long() {
    let (tier, _) = broken().await;
    advance(secs(4)).await;
    let error = failed(tier.open(&layer()).await, "open");
    let left = error
        .message()
        .strip_prefix("the breaker is open: the connection was cut; next probe in ")
        .and_then(|left| left.strip_suffix(" s"))
        .unwrap_or_else(|| panic!("{error}"));
    assert!((1..=6).contains(&left.parse().unwrap()), "{error}");
    let cause = std::error::Error::source(&error).unwrap();
    assert_eq!(
        cause.to_string(),
        "the connection was cut",
        "which the refusal says already"
    );
}

#[tokio::test(start_paused = true)]
async fn what_stands_beside_the_tier_shares_its_breaker() {
    let (tier, script) = far().await;
    let tier = Breaker::new(tier, config());
    let lease: BreakerHandle = tier.policy().clone();
    for _ in 0..3 {
        let lost: Result<()> = lease
            .run(Operation::Remove, async { Err(Error::unavailable("gone")) })
            .await;
        assert_eq!(lost.unwrap_err().to_string(), "far: remove: gone");
    }
    refused(tier.open(&layer()).await, "open");
    assert!(script.asked().is_empty());
    let error = lease.run(Operation::Remove, async { Ok(()) }).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("far: remove: the breaker is open: gone")
    );
    advance(secs(10)).await;
    drop(tier);
    lease.run(Operation::Remove, async { Ok(()) }).await.unwrap();
    assert_eq!(lease.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn its_state_is_told_whatever_becomes_of_the_probe_and_of_the_breaker() {
    let recorded = Recorded::default();
    let _listening = recorded.listen();
    let states = || {
        ["closed", "open", "half_open"]
            .map(|state| recorded.value("layercache_breaker_state", &[("tier", "far"), ("state", state)]))
    };
    let (tier, script) = broken().await;
    assert_eq!(states(), [0.0, 1.0, 0.0]);
    let layer = layer();
    advance(secs(10)).await;
    script.then([Act::Stall]);
    let mut probe = Box::pin(tier.open(&layer));
    assert!((&mut probe).now_or_never().is_none());
    assert_eq!(states(), [0.0, 0.0, 1.0]);
    drop(probe);
    assert_eq!(states(), [0.0, 1.0, 0.0]);

    script.then([Act::Panic]);
    let panicked = std::panic::AssertUnwindSafe(tier.open(&layer))
        .catch_unwind()
        .await;
    assert!(panicked.is_err());
    assert_eq!(states(), [0.0, 1.0, 0.0]);

    opened(&tier).await;
    assert_eq!(states(), [1.0, 0.0, 0.0]);
    assert_eq!(recorded.value("layercache_breaker_openings_total", &[]), 1.0);

    let (other, _) = broken().await;
    assert_eq!(states(), [1.0, 1.0, 0.0], "another breaker of the same name");
    drop(tier);
    assert_eq!(states(), [0.0, 1.0, 0.0]);
    drop(other);
    assert_eq!(states(), [0.0, 0.0, 0.0]);
}

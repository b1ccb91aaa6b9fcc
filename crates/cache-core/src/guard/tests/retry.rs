use async_trait::async_trait;

use super::*;
use crate::{ByteStream, Capabilities, Role};

fn retry<S: LayerSource>(source: S) -> Retry<S> {
    Retry::new(source, RetryConfig::default())
}

#[tokio::test(start_paused = true)]
async fn what_is_unavailable_is_asked_three_times() {
    let (tier, script) = far().await;
    let tier = retry(tier);
    for failures in 0..=2 {
        script.fail(failures);
        let reader = opened(&tier).await;
        script.fail(failures);
        assert_eq!(reader.read_bytes(3, 4).await.unwrap(), layer_bytes()[3..7]);
    }
    script.asked();
    script.fail(3);
    failed(tier.open(&layer()).await, "open");
    assert_eq!(script.asked(), [Operation::Open; 3]);
    script.fail(2);
    assert!(tier.remove(&layer().digest).await.unwrap());
    assert_eq!(script.asked(), [Operation::Remove; 3]);
    assert!(tier.open(&layer()).await.unwrap().is_none());
    assert_eq!(script.asked(), [Operation::Open], "absence is an answer");
}

#[tokio::test(start_paused = true)]
async fn pauses_grow() {
    let (tier, script) = far().await;
    let config = RetryConfig {
        attempts: 4,
        pause: secs(1),
        max_pause: secs(100),
    };
    let tier = Retry::new(tier, config);
    script.fail(3);
    let begin = Instant::now();
    opened(&tier).await;
    let paused = begin.elapsed().as_secs_f64();
    // 1, 2 and 4 s, or half of each.
    assert!((3.5..=7.0).contains(&paused), "{paused}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_an_answer() {
    let (tier, script) = far().await;
    let tier = retry(tier);
    let reader = opened(&tier).await;
    for kind in [
        ErrorKind::Corrupt,
        ErrorKind::Permanent,
        ErrorKind::Invalid,
        ErrorKind::NotFound,
    ] {
        script.asked();
        script.then([Act::Fail(kind); 3]);
        assert_eq!(failed(tier.open(&layer()).await, "open").kind(), kind);
        assert_eq!(failed(reader.read_bytes(0, 9).await, "read").kind(), kind);
        assert_eq!(failed(all(reader.clone(), 0).await, "stream").kind(), kind);
        assert_eq!(
            script.asked(),
            [Operation::Open, Operation::Read, Operation::Stream]
        );
        script.then([Act::Fail(kind)]);
        assert_eq!(failed(tier.remove(&layer().digest).await, "remove").kind(), kind);
        assert_eq!(script.asked(), [Operation::Remove]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fill_is_not_repeated_in_parts() {
    let (tier, script) = empty();
    let tier = retry(tier);
    script.fail(1);
    failed(tier.create(&layer()).await, "create");
    let mut half = writer(&tier).await;
    script.fail(1);
    failed(half.write(layer_bytes()).await, "write");
    script.fail(1);
    failed(half.abort().await, "abort");
    let half = writer(&tier).await;
    script.fail(1);
    failed(half.commit(&index()).await, "commit");
    script.fail(1);
    tier.list().try_next().await.expect_err("a list is not repeated");
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_where_it_was_cut() {
    use Act::{Fail, Work};
    let cut = Fail(ErrorKind::Unavailable);
    let (tier, script) = far().await;
    let tier = retry(tier);
    let reader = opened(&tier).await;
    for offset in [0, 1, 2500, 9999, 10_000, 20_000] {
        let rest = &layer_bytes()[10_000.min(offset)..];
        let places = rest.len().div_ceil(PIECE);
        for place in 0..=places {
            script.then([vec![Work; place], vec![cut, cut]].concat());
            assert_eq!(all(reader.clone(), offset as u64).await.unwrap(), rest);
        }
        // Twice before each piece: attempts are counted without progress.
        script.then([cut, cut, Work].repeat(places));
        assert_eq!(all(reader.clone(), offset as u64).await.unwrap(), rest);
    }
    script.then([Work, cut, cut, cut]);
    script.asked();
    let mut stream = reader.stream(0);
    assert_eq!(stream.try_next().await.unwrap().unwrap(), layer_bytes()[..PIECE]);
    failed(stream.try_next().await, "stream");
    assert!(stream.next().await.is_none());
    assert_eq!(script.asked().len(), 4);
}

/// A source whose streams are proven right only by their end.
#[derive(Debug)]
struct Unproven<S>(S);

#[async_trait]
impl<S: LayerSource> LayerSource for Unproven<S> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn role(&self) -> Role {
        self.0.role()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        self.0.open(layer).await
    }
}

/// The end of the second stream proves what the second stream has brought, not what the first one did.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_verified_on_the_way_is_not_patched_together() {
    let (tier, script) = far().await;
    let source = retry(Unproven(tier));
    let reader = opened(&source).await;
    script.fail(2);
    assert_eq!(all(reader.clone(), 0).await.unwrap(), layer_bytes());
    script.then([Act::Work, Act::Fail(ErrorKind::Unavailable)]);
    let mut stream: ByteStream = reader.stream(0);
    stream.try_next().await.unwrap().unwrap();
    failed(stream.try_next().await, "stream");
    assert!(stream.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_a_breaker_refuses_is_not_repeated() {
    let (tier, script) = far().await;
    let source = retry(Breaker::new(tier, BreakerConfig::default()));
    script.fail(3);
    failed(source.open(&layer()).await, "open");
    let begin = Instant::now();
    let error = failed(source.open(&layer()).await, "open");
    assert!(error.message().starts_with("the breaker is open"), "{error}");
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(script.asked().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn each_repetition_is_counted() {
    let recorded = Recorded::default();
    let _listening = recorded.listen();
    let (tier, script) = far().await;
    let tier = retry(tier);
    script.fail(2);
    let reader = opened(&tier).await;
    script.fail(1);
    reader.read_bytes(3, 4).await.unwrap();
    script.fail(3);
    failed(tier.open(&layer()).await, "open");
    script.then([Act::Work, Act::Fail(ErrorKind::Unavailable)]);
    all(reader, 0).await.unwrap();
    script.then([Act::Fail(ErrorKind::Permanent)]);
    failed(tier.remove(&layer().digest).await, "remove");
    let of = |operation| {
        let labels = [("tier", "far"), ("operation", operation)];
        recorded.value("layercache_retries_total", &labels)
    };
    assert_eq!(["open", "read", "stream", "remove"].map(of), [4.0, 1.0, 1.0, 0.0]);
}

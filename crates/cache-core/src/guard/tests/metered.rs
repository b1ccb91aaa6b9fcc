use async_trait::async_trait;

use super::*;
use crate::guard::Metered;
use crate::{Capabilities, Role};

/// As far away as its name says.
#[derive(Debug)]
struct Remote(Far);

#[async_trait]
impl LayerSource for Remote {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn role(&self) -> Role {
        Role::Shared
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        self.0.open(layer).await
    }
}

#[tokio::test(start_paused = true)]
async fn how_long_a_far_source_takes_is_told_by_what_came_of_it() {
    let recorded = Recorded::default();
    let _listening = recorded.listen();
    let (tier, script) = far().await;
    let tier = Metered::new(Remote(tier));
    script.then([
        Act::WorkAfter(secs(2)),
        Act::WorkAfter(secs(3)),
        Act::FailAfter(secs(5)),
    ]);
    let reader = opened(&tier).await;
    reader.read_bytes(0, 10).await.unwrap();
    failed(tier.open(&layer()).await, "open");
    let took = |operation, outcome| {
        let labels = [("tier", "far"), ("operation", operation), ("outcome", outcome)];
        recorded.samples("layercache_request_seconds", &labels)
    };
    assert_eq!(
        (took("open", "hit"), took("open", "unavailable")),
        (vec![2.0], vec![5.0])
    );
    assert_eq!((took("read", "ok"), took("open", "miss")), (vec![3.0], vec![]));
}

#[tokio::test]
async fn what_is_given_up_is_counted() {
    let recorded = Recorded::default();
    let _listening = recorded.listen();
    let tier = Metered::new(MemoryTier::new("memory", 100));
    let Claim::Write(writer) = tier.create(&layer()).await.unwrap() else {
        panic!("the tier is empty")
    };
    writer.abort().await.unwrap();
    let labels = [("tier", "memory"), ("operation", "abort"), ("outcome", "ok")];
    assert_eq!(recorded.value("layercache_requests_total", &labels), 1.0);
}

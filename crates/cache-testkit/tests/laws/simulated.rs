//! What is simulated keeps the laws, for as long as its script says nothing else.

use cache_testkit::laws::LeaseSubject;
use cache_testkit::sim::{Script, SimTier, TierKind};
use cache_testkit::{lease_laws, tier_laws};

fn tier(kind: TierKind) -> SimTier {
    SimTier::new("simulated", kind, Script::default())
}

tier_laws!(local_tier, || async { tier(TierKind::Local) });
tier_laws!(shared_tier, || async { tier(TierKind::Shared) });

lease_laws!(leases, || async {
    let tier = tier(TierKind::Shared);
    LeaseSubject::new(move |lifetime| tier.clone().with_lease_lifetime(lifetime).leases())
});

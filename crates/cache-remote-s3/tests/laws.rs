//! The laws of tiers, for the S3 tier: alone, and with a sealed index.

use cache_core::index::Seal;
use cache_remote_s3::{S3Config, S3Tier};
use cache_testkit::laws::TierSubject;
use cache_testkit::tier_laws;

fn env(name: &str) -> String {
    let name = format!("LAYERCACHE_TEST_S3_{name}");
    std::env::var(&name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask test`"))
}

/// A tier in the shared bucket, below a prefix that all laws share: short, as s3s-fs makes file names of keys.
fn s3(set: impl Fn(S3Config) -> S3Config) -> TierSubject {
    let config = S3Config::new(env("BUCKET"))
        .with_endpoint(Some(env("ENDPOINT")))
        .with_region(Some(env("REGION")))
        .with_credentials(env("ACCESS_KEY_ID"), env("SECRET_ACCESS_KEY"));
    let config = set(config);
    let open = move || S3Tier::new(config.clone()).unwrap();
    TierSubject::new(open()).reopened_by(move || std::future::ready(open()))
}

tier_laws!(durable plain, || async { s3(|config| config.with_prefix("laws/".into())) });
tier_laws!(durable sealed, || async {
    s3(|config| config.with_prefix("sealed/".into()).with_seal(Seal::keyed(&[7; 32]).unwrap()))
});

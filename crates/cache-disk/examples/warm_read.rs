//! Reads 4 KiB of a layer as often as its argument says: `cargo xtask instructions` counts what one read takes.

use bytes::Bytes;
use cache_core::index::IndexBuilder;
use cache_core::{Claim, Digest, LayerDescriptor, Tier};
use cache_disk::{DiskConfig, DiskTier};

const LEN: usize = 4096;

fn main() {
    let times: u64 = std::env::args()
        .nth(1)
        .and_then(|times| times.parse().ok())
        .expect("how often it is to read");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let root = tempfile::tempdir().unwrap();
        let tier = DiskTier::open(DiskConfig::new(root.path().join("cache"))).unwrap();
        let bytes = Bytes::from(vec![7; 64 * LEN]);
        let layer = LayerDescriptor::new(Digest::sha256_of(b"blob"));
        let Claim::Write(mut writer) = tier.create(&layer).await.unwrap() else {
            panic!("an empty directory has the layer");
        };
        let mut index = IndexBuilder::new(layer.digest.algorithm());
        index.update(&bytes);
        writer.write(bytes).await.unwrap();
        let reader = writer.commit(&index.finish(layer.digest)).await.unwrap();
        let mut buf = vec![0; LEN];
        for time in 0..times {
            let offset = time % 64 * LEN as u64;
            assert_eq!(reader.read_at(offset, &mut buf).await.unwrap(), LEN);
        }
    });
}

//! Documents of images.

use proptest::prelude::*;

use crate::mutation::{changed, seeds_changed};

const INDEX: &str = r##"{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"@1","size":"#1"}]}"##;

/// An index, a manifest and a config that fit each other, or whose numbers of layers do not.
fn image() -> impl Strategy<Value = Vec<u8>> {
    let layer = prop::sample::select(vec![
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.v1.tar",
    ]);
    let layers = prop::collection::vec((layer, "[0-9a-f]{64}", any::<u64>()), 0..6);
    let config = prop::sample::select(vec![
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
        "",
        "text/html",
    ]);
    let more = prop_oneof![9 => Just(0), 1 => 0usize..3];
    (layers, config, more, "[a-z]{0,3}").prop_map(|(layers, config, more, variant)| {
        let diff_ids: Vec<_> = (0..layers.len() + more).map(|n| format!("\"sha256:{n:064x}\"")).collect();
        let layers: Vec<_> = layers
            .iter()
            .map(|(kind, hex, size)| format!(r#"{{"mediaType":"{kind}","digest":"sha256:{hex}","size":{size}}}"#))
            .collect();
        let manifest = format!(
            r##"{{"schemaVersion":2,"config":{{"mediaType":"{config}","digest":"@1","size":"#1"}},"layers":[{}]}}"##,
            layers.join(",")
        );
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","variant":"{variant}","rootfs":{{"diff_ids":[{}]}}}}"#,
            diff_ids.join(",")
        );
        [INDEX, &manifest, &config].join("\n---\n").into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn images(bytes in image()) {
        properties::image_documents(&bytes);
    }

    #[test]
    fn images_changed(bytes in changed(image())) {
        properties::image_documents(&bytes);
    }

    #[test]
    fn seeds(bytes in seeds_changed("image_documents")) {
        properties::image_documents(&bytes);
    }
}

//! References, locations and platforms.

use proptest::prelude::*;

use crate::mutation::{changed, seeds_changed};

/// What users write, put together from parts that are right, and some that are not.
fn name() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        Just(String::new()),
        "(localhost|[a-zA-Z0-9-]{1,5}\\.[a-z]{1,3}|docker\\.io|index\\.docker\\.io)(:[0-9]{1,5})?/",
        "\\[[0-9a-f:.]{2,9}\\](:[0-9]{1,5})?/",
        "(oci|oci-archive|docker-archive):/?",
    ];
    let path = "([a-z0-9]{1,3}[._-]{0,2}[a-z0-9]/){0,2}[a-z0-9]{1,4}";
    let tag = prop_oneof![Just(String::new()), ":[a-zA-Z0-9_.-]{1,6}", ":.{0,2}"];
    let digest = prop_oneof![
        2 => Just(String::new()),
        1 => "@sha256:[0-9a-f]{64}",
        1 => "@sha512:[0-9a-f]{128}",
        1 => "@sha256:[0-9a-fA-F]{62,65}",
    ];
    (host, path, tag, digest).prop_map(|(host, path, tag, digest)| host + &path + &tag + &digest)
}

fn platform() -> impl Strategy<Value = String> {
    let os = prop::sample::select(vec!["linux", "macos", "Windows", "darwin", ""]);
    let architectures = [
        "amd64", "x86_64", "X86-64", "i386", "386", "aarch64", "arm64", "arm", "armhf", "armel", "riscv64",
    ];
    let variant = "|/|/v?[0-9]{1,2}|/v8\\.0|/[a-zA-Z0-9._-]{1,4}";
    (os, prop::sample::select(architectures.to_vec()), variant)
        .prop_map(|(os, architecture, variant)| format!("{os}/{architecture}{variant}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn names(text in name()) {
        properties::reference(text.as_bytes());
    }

    #[test]
    fn names_changed(text in changed(name().prop_map(String::into_bytes))) {
        properties::reference(&text);
    }

    #[test]
    fn platforms(text in platform()) {
        properties::reference(text.as_bytes());
    }

    #[test]
    fn seeds(text in seeds_changed("reference")) {
        properties::reference(&text);
    }

    #[test]
    fn any_text(text in ".{0,200}") {
        properties::reference(text.as_bytes());
    }
}

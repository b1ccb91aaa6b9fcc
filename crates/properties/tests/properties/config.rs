//! Configuration files.

use proptest::prelude::*;

use crate::mutation::{changed, seeds_changed};

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:?}").replace("NaN", "nan")),
        any::<bool>().prop_map(|b| b.to_string()),
        "\\PC{0,12}".prop_map(|text| format!("{text:?}")),
        "[0-9]{1,20}( ?[kMGTPE]i?B?)?".prop_map(|size| format!("\"{size}\"")),
        "'[^'\n]{0,9}'",
        Just("2026-01-02T03:04:05.006Z".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(", "))),
            prop::collection::btree_map(key(), inner, 0..4).prop_map(|table| {
                let pairs: Vec<_> = table
                    .iter()
                    .map(|(key, value)| format!("{key} = {value}"))
                    .collect();
                format!("{{ {} }}", pairs.join(", "))
            }),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_]{1,9}", "\\PC{0,5}".prop_map(|text| format!("{text:?}"))]
}

fn document() -> impl Strategy<Value = Vec<u8>> {
    let names = ["early_reads", "max_layer_bytes", "max_concurrent_fills"];
    let top = prop::collection::btree_map(prop::sample::select(names.to_vec()), value(), 0..3);
    let tier = ("[a-z]{1,9}", prop::collection::btree_map(key(), value(), 0..5));
    (top, prop::collection::vec(tier, 0..4)).prop_map(|(top, tiers)| {
        let mut text: String = top
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        for (kind, settings) in tiers {
            text += &format!("[[tier]]\nkind = \"{kind}\"\n");
            text.extend(settings.iter().map(|(key, value)| format!("{key} = {value}\n")));
        }
        text.into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn documents(text in document()) {
        properties::config(&text);
    }

    #[test]
    fn documents_changed(text in changed(document())) {
        properties::config(&text);
    }

    #[test]
    fn seeds(text in seeds_changed("config")) {
        properties::config(&text);
    }
}

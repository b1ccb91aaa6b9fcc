//! Answers to the request for the rest of a blob.

use proptest::prelude::*;

use crate::mutation::seeds_changed;

/// Where the first answer is cut, which bytes the second has and which it says it has.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let near = |at: u64| prop_oneof![3 => Just(at), 1 => at.saturating_sub(1)..at + 2, 1 => any::<u64>()];
    (1u16..1000, 0u16..1000, any::<bool>())
        .prop_flat_map(move |(cut, from, honest)| {
            let from = if honest { cut } else { from };
            let total =
                prop_oneof![4 => Just("1000".to_owned()), 1 => Just("*".to_owned()), 1 => "[0-9]{1,20}"];
            let unit =
                prop::sample::select(vec!["bytes ", "bytes ", "Bytes  ", " bytes ", "items ", "bytes"]);
            (Just((cut, from)), unit, near(cut.into()), near(999), total)
        })
        .prop_map(|((cut, from), unit, start, end, total)| {
            let header = format!("{unit}{start}-{end}/{total}");
            [&cut.to_be_bytes()[..], &from.to_be_bytes(), header.as_bytes()].concat()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn answers(bytes in answer()) {
        properties::content_range(&bytes);
    }

    #[test]
    fn seeds(bytes in seeds_changed("content_range")) {
        properties::content_range(&bytes);
    }
}

//! Encoded indexes.

use proptest::prelude::*;

use crate::mutation::seeds_changed;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn seeds(bytes in seeds_changed("layer_index")) {
        properties::layer_index(&bytes);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        properties::layer_index(&bytes);
    }
}

//! skeleton
pub(crate) const MAX_LAYER_BYTES: u64 = 10_000 * (7 << 20);

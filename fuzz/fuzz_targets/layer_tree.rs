//! Looks for bytes that break [`properties::layer_tree`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::layer_tree(bytes));

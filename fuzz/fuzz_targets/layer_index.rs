//! Looks for bytes that break [`properties::layer_index`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::layer_index(bytes));

//! Looks for bytes that break [`properties::content_range`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::content_range(bytes));

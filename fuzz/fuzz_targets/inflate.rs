//! Looks for bytes that break [`properties::inflate`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::inflate(bytes));

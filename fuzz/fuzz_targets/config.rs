//! Looks for bytes that break [`properties::config`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::config(bytes));

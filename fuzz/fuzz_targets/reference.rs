//! Looks for bytes that break [`properties::reference`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::reference(bytes));

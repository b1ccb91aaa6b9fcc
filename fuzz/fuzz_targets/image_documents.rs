//! Looks for bytes that break [`properties::image_documents`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::image_documents(bytes));

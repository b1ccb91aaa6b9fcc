//! What must hold whatever bytes come in: one property per reader of hostile input.
//!
//! A property is a function of bytes that panics when it is broken. Each has a target in `fuzz/`, which looks for bytes
//! that break it (`cargo xtask fuzz`), and tests here, which run it on generated input and on the seeds in
//! `fuzz/corpus`. A crate of its own, since what it depends on would make a cycle of any other.

mod config;
mod content_range;
mod image_documents;
mod inflate;
mod layer_index;
mod layer_tree;
mod memory;
mod message;
mod reference;
mod runtime;
mod tar_crate;

pub use config::config;
pub use content_range::content_range;
pub use image_documents::image_documents;
pub use inflate::inflate;
pub use layer_index::layer_index;
pub use layer_tree::layer_tree;
pub use reference::reference;

/// What must hold of any bytes; panics when it does not.
pub type Property = fn(&[u8]);

/// Every property by the name of its fuzz target.
pub const ALL: &[(&str, Property)] = &[
    ("config", config),
    ("content_range", content_range),
    ("image_documents", image_documents),
    ("inflate", inflate),
    ("layer_index", layer_index),
    ("layer_tree", layer_tree),
    ("reference", reference),
];

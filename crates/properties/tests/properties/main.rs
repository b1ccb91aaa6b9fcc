//! Every property on the seeds of its fuzz target and on generated input.

mod config;
mod content_range;
mod image_documents;
mod inflate;
mod layer_index;
mod layer_tree;
mod mutation;
mod reference;
mod seeds;

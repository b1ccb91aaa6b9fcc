//! The local disk tier of the layer cache.

//! Index of a layer's tar, and the merged file tree of an image's layers.

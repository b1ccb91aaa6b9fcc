//! Index of a layer's tar, and the merged file tree of an image's layers.
//!
//! [`LayerTree`] says where in a layer each file's bytes are; it is built once, from the layer as it streams past or by
//! reading its headers alone, and kept next to the layer in encoded form ([`load_or_build`]). [`ImageTree`] stacks the
//! trees of an image's layers and hides what whiteouts hide. [`FileReader`] reads one file through the reader of
//! the layer that holds it.
//!
//! Everything in a tar is hostile: names, links, sizes and counts are bounded by [`TreeLimits`], names never leave the
//! root, symbolic links are resolved inside the image only, and nothing recurses over the input.
//!
//! ```
//! # use std::sync::Arc;
//! # use image_tree::{Follow, ImageTree, LayerTree, TreeLimits};
//! let mut tar = tar::Builder::new(Vec::new());
//! let mut header = tar::Header::new_gnu();
//! header.set_size(5);
//! tar.append_data(&mut header, "etc/motd", &b"hello"[..]).unwrap();
//! let layer = tar.into_inner().unwrap();
//!
//! let tree = LayerTree::from_bytes(&layer, &TreeLimits::default())?;
//! let image = ImageTree::new(vec![Arc::new(tree)], &TreeLimits::default())?;
//! let file = image.resolve(b"/etc/../etc/motd", Follow::All)?.expect("the file is there");
//! assert_eq!(file.entry().size(), 5);
//! # Ok::<(), cache_core::Error>(())
//! ```

mod entry;
mod file;
mod image;
mod layer;
mod limits;
mod path;
mod store;
mod xattr;

pub use entry::{Entry, EntryKind, Extent, FileData};
pub use file::FileReader;
pub use image::{Children, Follow, ImageTree, Node, NodeId, Walk};
pub use layer::{LayerTree, LayerTreeBuilder};
pub use limits::TreeLimits;
pub use store::{TreeStore, build, load, load_or_build};
pub use xattr::Xattr;

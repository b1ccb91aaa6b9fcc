//! Layers described by their members.

use std::sync::Arc;

use cache_core::Result;
use image_tree::{ImageTree, LayerTree, TreeLimits};
use tar::EntryType;

use super::*;

/// What a layer of these tests consists of: a path, and what is there.
#[derive(Clone, Debug)]
pub(crate) enum Is {
    File,
    Dir,
    Symlink(String),
    HardLink(String),
}
pub(crate) use Is::{Dir, File};

pub(crate) fn symlink(target: &str) -> Is {
    Is::Symlink(target.into())
}

pub(crate) fn hard_link(target: &str) -> Is {
    Is::HardLink(target.into())
}

/// A layer whose n-th member has the time `number * 1000 + n`, so that it can be told from all others.
pub(crate) fn layer<S: AsRef<str>>(number: usize, members: &[(S, Is)]) -> Arc<LayerTree> {
    let mut tar = Vec::new();
    for (n, (path, is)) in members.iter().enumerate() {
        let kind = match is {
            File => EntryType::Regular,
            Dir => EntryType::Directory,
            Is::Symlink(_) => EntryType::Symlink,
            Is::HardLink(_) => EntryType::Link,
        };
        let mut header = header(path.as_ref(), kind, 0);
        if let Is::Symlink(target) | Is::HardLink(target) = is {
            header.set_link_name_literal(target).unwrap();
        }
        header.set_mtime((number * 1000 + n) as u64);
        tar.extend(member(header, &[]));
    }
    Arc::new(tree_of(&tar).unwrap())
}

pub(crate) fn merge<S: AsRef<str>>(layers: &[&[(S, Is)]]) -> Result<ImageTree> {
    let layers = layers
        .iter()
        .enumerate()
        .map(|(number, members)| layer(number + 1, members))
        .collect();
    ImageTree::new(layers, &TreeLimits::default())
}

/// Every path of the image, in order.
pub(crate) fn paths(image: &ImageTree) -> Vec<String> {
    image
        .root()
        .walk()
        .map(|(path, _)| String::from_utf8(path).unwrap())
        .collect()
}

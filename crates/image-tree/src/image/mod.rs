//! The merged view of an image's layers.

mod merge;
mod resolve;
mod walk;

use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::sync::Arc;

use cache_core::Result;

use crate::{Entry, EntryKind, LayerTree, TreeLimits};

pub use resolve::Follow;
pub use walk::Walk;

/// Number of a node in [`ImageTree::nodes`].
type NodeId = u32;

/// The root directory is always there.
const ROOT: NodeId = 0;

/// The file tree that an image's layers make together.
///
/// Memory: the layers' trees, and one node for each path a layer names or implies, of 100 to 350 bytes and the
/// name; [`TreeLimits::max_nodes`] bounds them.
pub struct ImageTree {
    layers: Vec<Arc<LayerTree>>,
    nodes: Vec<NodeData>,
    /// What a directory looks like that no layer has an entry for.
    implied: Entry,
}

struct NodeData {
    parent: NodeId,
    /// Length of its path in bytes, with a slash in front of each name.
    path_len: u32,
    /// The layer it is from.
    layer: usize,
    /// Its entry in that layer; `None` for a directory that is only implied.
    entry: Option<usize>,
    /// Empty for everything but a directory.
    children: BTreeMap<Box<[u8]>, NodeId>,
}

impl ImageTree {
    /// The tree of an image with these layers, the base first.
    ///
    /// Entries are played back in the order of the archives, as containerd unpacks them. Costs about a microsecond per
    /// entry: keep large images off the runtime's threads.
    ///
    /// # Errors
    /// [`Corrupt`](cache_core::ErrorKind::Corrupt), naming the layer by its number from 0, for what cannot be unpacked: a hard
    /// link to nothing or to a directory, a name below a loop of symbolic links.
    /// [`Permanent`](cache_core::ErrorKind::Permanent) beyond [`TreeLimits::max_nodes`].
    pub fn new(layers: Vec<Arc<LayerTree>>, limits: &TreeLimits) -> Result<Self> {
        let nodes = merge::merge(&layers, limits)?;
        let implied = Entry {
            path: Box::default(),
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 0,
            kind: EntryKind::Dir,
        };
        Ok(Self {
            layers,
            nodes,
            implied,
        })
    }

    /// The root directory.
    pub fn root(&self) -> Node<'_> {
        self.node(ROOT)
    }

    fn node(&self, id: NodeId) -> Node<'_> {
        Node { tree: self, id }
    }

    fn data(&self, id: NodeId) -> &NodeData {
        &self.nodes[id as usize]
    }

    fn entry(&self, id: NodeId) -> &Entry {
        let NodeData { layer, entry, .. } = self.data(id);
        entry.map_or(&self.implied, |entry| &self.layers[*layer].entries()[entry])
    }

    fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        self.data(dir).children.get(name).copied()
    }
}

impl fmt::Debug for ImageTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageTree")
            .field("layers", &self.layers.len())
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

/// One file of an [`ImageTree`]: a file, directory, symbolic link, device or pipe.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    tree: &'a ImageTree,
    id: NodeId,
}

impl<'a> Node<'a> {
    /// The number of the layer, from 0, that holds its entry and, for a regular file, its bytes. For a directory that no
    /// layer has an entry for, the first layer with something in it.
    pub fn layer(&self) -> usize {
        self.tree.data(self.id).layer
    }

    /// Its entry. For a hard link this is the entry of the file it is another name of; the path in it is then that file's.
    /// A directory that no layer has an entry for shows mode `0o755`, owner and group 0 and time 0.
    pub fn entry(&self) -> &'a Entry {
        self.tree.entry(self.id)
    }

    /// What is in this directory, sorted by name as bytes; nothing for everything but a directory.
    pub fn children(&self) -> Children<'a> {
        Children {
            tree: self.tree,
            inner: self.tree.data(self.id).children.iter(),
        }
    }

    /// Everything below this directory, each directory before what is in it, sorted. Symbolic links are not followed.
    pub fn walk(&self) -> Walk<'a> {
        Walk::new(*self)
    }
}

impl PartialEq for Node<'_> {
    /// Whether both are the same place of the same tree.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.tree, other.tree) && self.id == other.id
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("layer", &self.layer())
            .field("entry", self.entry())
            .finish()
    }
}

/// The names in a directory and their nodes, see [`Node::children`].
#[derive(Clone, Debug)]
pub struct Children<'a> {
    tree: &'a ImageTree,
    inner: btree_map::Iter<'a, Box<[u8]>, NodeId>,
}

impl<'a> Iterator for Children<'a> {
    type Item = (&'a [u8], Node<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, id) = self.inner.next()?;
        Some((name, self.tree.node(*id)))
    }
}

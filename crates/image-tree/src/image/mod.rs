//! The merged view of an image's layers.

mod merge;
mod resolve;
mod walk;

use std::fmt;
use std::slice;
use std::sync::Arc;

use cache_core::Result;

use crate::{Entry, EntryKind, LayerTree, TreeLimits};

pub use resolve::Follow;
pub use walk::Walk;

/// Number of a file in its [`ImageTree`], one for all its names: what an inode number is to a file
/// system.
///
/// Numbers run without gaps from 0, the root, in the order of a [walk](Node::walk) from there.
/// Trees of the same layers have the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The root directory, which is always there.
    pub const ROOT: Self = Self(0);

    /// The number, to index with.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl From<u32> for NodeId {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

impl From<NodeId> for u32 {
    fn from(id: NodeId) -> Self {
        id.0
    }
}

/// The file tree that an image's layers make together.
///
/// Memory: the layers' trees, and for each file 48 bytes and, for each of its names, 24 bytes and
/// the name. While it is made, one that a layer names or implies takes up to 350 bytes;
/// [`TreeLimits::max_nodes`] bounds them.
pub struct ImageTree {
    layers: Vec<Arc<LayerTree>>,
    nodes: Vec<NodeData>,
    /// The entry of a directory that no layer has one for.
    implied: Entry,
}

struct NodeData {
    /// The directory that a walk finds it in first. The root's is the root.
    parent: NodeId,
    /// How many names it has.
    links: u32,
    /// The layer it is from.
    layer: usize,
    /// Its entry in that layer; `None` for a directory that is only implied.
    entry: Option<usize>,
    /// Sorted by name. Empty for everything but a directory.
    children: Box<[(Box<[u8]>, NodeId)]>,
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
            mtime_nanos: 0,
            xattrs: Box::default(),
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
        self.at(NodeId::ROOT)
    }

    /// The file with this number; `None` where the tree has none.
    pub fn node(&self, id: NodeId) -> Option<Node<'_>> {
        (id.index() < self.nodes.len()).then(|| self.at(id))
    }

    /// All files in the order of their numbers, each once, however many names it has.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = Node<'_>> {
        (0..self.nodes.len()).map(|index| self.at(NodeId(index as u32)))
    }

    fn at(&self, id: NodeId) -> Node<'_> {
        Node { tree: self, id }
    }

    fn data(&self, id: NodeId) -> &NodeData {
        &self.nodes[id.index()]
    }

    fn entry(&self, id: NodeId) -> &Entry {
        let NodeData { layer, entry, .. } = self.data(id);
        entry.map_or(&self.implied, |entry| &self.layers[*layer].entries()[entry])
    }

    fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        let children = &self.data(dir).children;
        let place = children.binary_search_by(|(other, _)| (**other).cmp(name));
        place.ok().map(|place| children[place].1)
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
    /// Its number.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// How many names it has, as `stat` counts them: a hard link adds one, and a directory has two
    /// and one for each directory in it.
    pub fn links(&self) -> u32 {
        self.tree.data(self.id).links
    }

    /// The number of the layer, from 0, that holds its entry and, for a regular file, its bytes. For a directory that no
    /// layer has an entry for, the first layer with something in it.
    pub fn layer(&self) -> usize {
        self.tree.data(self.id).layer
    }

    /// Its entry. All names of a file have one: that of the file, with its first path, and never a
    /// hard link's. A directory that no layer has an entry for shows mode `0o755`, owner and group
    /// 0 and time 0.
    pub fn entry(&self) -> &'a Entry {
        self.tree.entry(self.id)
    }

    /// The directory it is in: the first in the order of a walk, if it has several names. The root
    /// is in itself.
    pub fn parent(&self) -> Node<'a> {
        self.tree.at(self.tree.data(self.id).parent)
    }

    /// The file called `name` in this directory.
    pub fn child(&self, name: &[u8]) -> Option<Node<'a>> {
        self.tree.child(self.id, name).map(|id| self.tree.at(id))
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
    /// Whether both are the same file of the same tree.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.tree, other.tree) && self.id == other.id
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id)
            .field("links", &self.links())
            .field("layer", &self.layer())
            .field("entry", self.entry())
            .finish()
    }
}

/// The names in a directory and their nodes, see [`Node::children`].
#[derive(Clone, Debug)]
pub struct Children<'a> {
    tree: &'a ImageTree,
    inner: slice::Iter<'a, (Box<[u8]>, NodeId)>,
}

impl<'a> Iterator for Children<'a> {
    type Item = (&'a [u8], Node<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, id) = self.inner.next()?;
        Some((name, self.tree.at(*id)))
    }
}

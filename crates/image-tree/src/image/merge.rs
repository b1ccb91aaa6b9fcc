//! Plays the layers of an image back, one on top of the other.
//!
//! - Whiteouts hide what *lower* layers have, and nothing of their own layer, wherever they stand in it: so all of
//!   a layer's whiteouts come first. They name what they hide literally: where a directory above is a symbolic link in the
//!   lower layers, there is nothing to hide. (A layer that replaces such a link by a directory marks the new directory
//!   opaque; following the link would empty the directory it points to.)
//! - A directory over a directory keeps what is in it and takes the upper one's metadata. Any other entry replaces
//!   what was there, with everything below it.
//! - Symbolic links in the directories of an entry's name are followed inside the image. Directories that are
//!   missing, or are no directories, are made, as overlay file systems show them.
//! - A hard link becomes what its target is at that moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use cache_core::{Error, Result};

use super::resolve::Way;
use super::{NodeData, NodeId, ROOT};
use crate::path::{Shown, components, split};
use crate::{Entry, EntryKind, LayerTree, TreeLimits};

/// How long the path of a node may be, in bytes. Names are bounded one by one, but symbolic links can put one below
/// another, and without an end to it the paths of a walk would take time in the square of the entries.
const MAX_PATH_LEN: u32 = 16 * 1024;

pub(super) fn merge(layers: &[Arc<LayerTree>], limits: &TreeLimits) -> Result<Vec<NodeData>> {
    let root = NodeData {
        parent: ROOT,
        path_len: 0,
        layer: 0,
        entry: None,
        children: BTreeMap::new(),
    };
    let mut merge = Merge {
        layers,
        nodes: vec![root],
        layer: 0,
        max_nodes: limits.max_nodes,
    };
    for (layer, tree) in layers.iter().enumerate() {
        merge.layer = layer;
        for entry in tree.entries() {
            merge.hide(entry);
        }
        for (index, entry) in tree.entries().iter().enumerate() {
            merge.apply(index, entry).map_err(|error| {
                let what = format!(
                    "layer {layer} of the image, {}: {}",
                    Shown(&entry.path),
                    error.message()
                );
                Error::new(error.kind(), what)
            })?;
        }
    }
    Ok(merge.nodes)
}

struct Merge<'a> {
    layers: &'a [Arc<LayerTree>],
    /// A node that is replaced stays, out of reach: to free trees of any depth takes nothing then.
    nodes: Vec<NodeData>,
    /// The layer that is played back.
    layer: usize,
    max_nodes: usize,
}

impl<'a> Merge<'a> {
    /// The entry of a node; `None` for a directory that is only implied.
    fn entry(&self, id: NodeId) -> Option<&'a Entry> {
        let NodeData { layer, entry, .. } = self.nodes[id as usize];
        entry.map(|entry| &self.layers[layer].entries()[entry])
    }

    fn is_dir(&self, id: NodeId) -> bool {
        self.entry(id).is_none_or(Entry::is_dir)
    }

    fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        self.nodes[dir as usize].children.get(name).copied()
    }

    /// Does what a whiteout says.
    fn hide(&mut self, entry: &Entry) {
        let (dir, name) = match (&entry.kind, split(&entry.path)) {
            (EntryKind::Opaque, _) => (&*entry.path, None),
            (EntryKind::Whiteout, Some((dir, name))) => (dir, Some(name)),
            _ => return,
        };
        let dir = components(dir).try_fold(ROOT, |at, name| self.child(at, name));
        let Some(dir) = dir else { return };
        let children = &mut self.nodes[dir as usize].children;
        match name {
            Some(name) => drop(children.remove(name)),
            None => children.clear(),
        }
    }

    /// Plays back the entry with this index in the layer.
    fn apply(&mut self, index: usize, entry: &'a Entry) -> Result<()> {
        let (layer, entry_index) = match &entry.kind {
            EntryKind::Whiteout | EntryKind::Opaque => return Ok(()),
            EntryKind::HardLink(target) => self.link_target(target)?,
            _ => (self.layer, index),
        };
        let Some((dir, name)) = split(&entry.path) else {
            (self.nodes[ROOT as usize].layer, self.nodes[ROOT as usize].entry) = (layer, Some(entry_index));
            return Ok(());
        };
        let dir = self.make_dir(dir)?;
        let existing = self
            .child(dir, name)
            .filter(|child| entry.is_dir() && self.is_dir(*child));
        let node = match existing {
            Some(node) => node,
            None => self.add(dir, name)?,
        };
        (self.nodes[node as usize].layer, self.nodes[node as usize].entry) = (layer, Some(entry_index));
        Ok(())
    }

    /// The layer and the entry of what a hard link points to. Only the directories of the target are resolved, as `link`
    /// does.
    fn link_target(&self, target: &[u8]) -> Result<(usize, usize)> {
        let nothing = || Error::corrupt(format!("a hard link to {}, which does not exist", Shown(target)));
        let (dir, name) = split(target).ok_or_else(nothing)?;
        let node = self
            .find_dir(dir)?
            .and_then(|dir| self.child(dir, name))
            .ok_or_else(nothing)?;
        let NodeData { layer, entry, .. } = self.nodes[node as usize];
        entry
            .filter(|_| !self.is_dir(node))
            .map(|entry| (layer, entry))
            .ok_or_else(|| Error::corrupt(format!("a hard link to {}, which is a directory", Shown(target))))
    }

    /// The directory at `path`; `None` when it does not exist.
    fn find_dir(&self, path: &[u8]) -> Result<Option<NodeId>> {
        let mut way = Way::new(path);
        let mut at = ROOT;
        while let Some(name) = way.next() {
            at = match self.step(&mut way, at, name)? {
                Step::To(node) if self.is_dir(node) => node,
                Step::To(_) | Step::Missing => return Ok(None),
            };
        }
        Ok(Some(at))
    }

    /// The directory at `path`, made where it does not exist.
    fn make_dir(&mut self, path: &[u8]) -> Result<NodeId> {
        let mut way = Way::new(path);
        let mut at = ROOT;
        while let Some(name) = way.next() {
            at = match self.step(&mut way, at, name)? {
                Step::To(node) if self.is_dir(node) => node,
                Step::To(_) | Step::Missing => self.add(at, name)?,
            };
        }
        Ok(at)
    }

    /// One step on the `way`, from the directory `at` to `name`. A symbolic link is a step to where its target starts.
    fn step<'w>(&self, way: &mut Way<'w>, at: NodeId, name: &[u8]) -> Result<Step>
    where
        'a: 'w,
    {
        if name == b".." {
            return Ok(Step::To(self.nodes[at as usize].parent));
        }
        let Some(child) = self.child(at, name) else {
            return Ok(Step::Missing);
        };
        Ok(Step::To(match self.entry(child).map(|entry| &entry.kind) {
            Some(EntryKind::Symlink(target)) => {
                let start = way
                    .enter(target)
                    .map_err(|error| Error::corrupt(error.message()))?;
                start.unwrap_or(at)
            }
            _ => child,
        }))
    }

    /// An implied directory called `name` in `dir`, in place of what was there.
    fn add(&mut self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        if self.nodes.len() >= self.max_nodes.min(NodeId::MAX as usize) {
            return Err(Error::permanent(format!("more than {} files", self.max_nodes)));
        }
        let path_len = self.nodes[dir as usize].path_len + 1 + name.len() as u32;
        if path_len > MAX_PATH_LEN {
            return Err(Error::permanent(format!(
                "a path of more than {MAX_PATH_LEN} bytes"
            )));
        }
        let node = self.nodes.len() as NodeId;
        self.nodes.push(NodeData {
            parent: dir,
            path_len,
            layer: self.layer,
            entry: None,
            children: BTreeMap::new(),
        });
        self.nodes[dir as usize].children.insert(name.into(), node);
        Ok(node)
    }
}

enum Step {
    To(NodeId),
    Missing,
}

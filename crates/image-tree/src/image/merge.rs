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
//! - A hard link is one more name of the file that its target names at that moment, whatever layer
//!   that is from. What its own header says of mode, owner and time is not taken.
//!
//! At the end the files that no name leads to any more are left out, the others are numbered, and
//! their links counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use cache_core::{Error, Result};

use super::resolve::Way;
use super::{NodeData, NodeId};
use crate::path::{Shown, components, split};
use crate::{Entry, EntryKind, LayerTree, TreeLimits};

/// How long the path of a node may be, in bytes. Names are bounded one by one, but symbolic links can put one below
/// another, and without an end to it the paths of a walk would take time in the square of the entries.
const MAX_PATH_LEN: u32 = 16 * 1024;

/// Number of a [`Draft`] in the order in which they are made, hidden ones included.
type DraftId = usize;

const ROOT: DraftId = 0;

/// A file while layers are still played back.
struct Draft {
    /// The directory it was made in.
    parent: DraftId,
    /// Length of its path in bytes, with a slash in front of each name.
    path_len: u32,
    layer: usize,
    entry: Option<usize>,
    children: BTreeMap<Box<[u8]>, DraftId>,
}

/// Plays the layers back, the base first. The first node is the root.
pub(super) fn merge(layers: &[Arc<LayerTree>], limits: &TreeLimits) -> Result<Vec<NodeData>> {
    let mut merge = Merge {
        layers,
        drafts: Vec::new(),
        names: 0,
        layer: 0,
        max_names: limits.max_nodes.min(u32::MAX as usize),
    };
    merge.draft(ROOT, 0);
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
    Ok(merge.finish())
}

struct Merge<'a> {
    layers: &'a [Arc<LayerTree>],
    /// One that is replaced stays, out of reach, until the end: to free trees of any depth takes
    /// nothing then.
    drafts: Vec<Draft>,
    /// Names given so far.
    names: usize,
    /// The layer that is played back.
    layer: usize,
    max_names: usize,
}

impl<'a> Merge<'a> {
    /// The entry of a file; `None` for a directory that is only implied.
    fn entry(&self, id: DraftId) -> Option<&'a Entry> {
        let Draft { layer, entry, .. } = self.drafts[id];
        entry.map(|entry| &self.layers[layer].entries()[entry])
    }

    fn is_dir(&self, id: DraftId) -> bool {
        self.entry(id).is_none_or(Entry::is_dir)
    }

    fn child(&self, dir: DraftId, name: &[u8]) -> Option<DraftId> {
        self.drafts[dir].children.get(name).copied()
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
        let children = &mut self.drafts[dir].children;
        match name {
            Some(name) => drop(children.remove(name)),
            None => children.clear(),
        }
    }

    /// Plays back the entry with this index in the layer.
    fn apply(&mut self, index: usize, entry: &'a Entry) -> Result<()> {
        let linked = match &entry.kind {
            EntryKind::Whiteout | EntryKind::Opaque => return Ok(()),
            EntryKind::HardLink(target) => Some(self.link_target(target)?),
            _ => None,
        };
        let id = match split(&entry.path) {
            None => ROOT,
            Some((dir, name)) => {
                let dir = self.make_dir(dir)?;
                if let Some(file) = linked {
                    return self.link(dir, name, file).map(drop);
                }
                let existing = self
                    .child(dir, name)
                    .filter(|child| entry.is_dir() && self.is_dir(*child));
                match existing {
                    Some(existing) => existing,
                    None => self.add(dir, name)?,
                }
            }
        };
        (self.drafts[id].layer, self.drafts[id].entry) = (self.layer, Some(index));
        Ok(())
    }

    /// The file that a hard link names. Only the directories of the target are resolved, as `link`
    /// does.
    fn link_target(&self, target: &[u8]) -> Result<DraftId> {
        let nothing = || Error::corrupt(format!("a hard link to {}, which does not exist", Shown(target)));
        let (dir, name) = split(target).ok_or_else(nothing)?;
        let file = self
            .find_dir(dir)?
            .and_then(|dir| self.child(dir, name))
            .ok_or_else(nothing)?;
        if self.is_dir(file) {
            let what = format!("a hard link to {}, which is a directory", Shown(target));
            return Err(Error::corrupt(what));
        }
        Ok(file)
    }

    /// The directory at `path`; `None` when it does not exist.
    fn find_dir(&self, path: &[u8]) -> Result<Option<DraftId>> {
        let mut way = Way::new(path);
        let mut at = ROOT;
        while let Some(name) = way.next() {
            at = match self.step(&mut way, at, name)? {
                Step::To(dir) if self.is_dir(dir) => dir,
                Step::To(_) | Step::Missing => return Ok(None),
            };
        }
        Ok(Some(at))
    }

    /// The directory at `path`, made where it does not exist.
    fn make_dir(&mut self, path: &[u8]) -> Result<DraftId> {
        let mut way = Way::new(path);
        let mut at = ROOT;
        while let Some(name) = way.next() {
            at = match self.step(&mut way, at, name)? {
                Step::To(dir) if self.is_dir(dir) => dir,
                Step::To(_) | Step::Missing => self.add(at, name)?,
            };
        }
        Ok(at)
    }

    /// One step on the `way`, from the directory `at` to `name`. A symbolic link is a step to where its target starts.
    fn step<'w>(&self, way: &mut Way<'w>, at: DraftId, name: &[u8]) -> Result<Step>
    where
        'a: 'w,
    {
        if name == b".." {
            return Ok(Step::To(self.drafts[at].parent));
        }
        let Some(child) = self.child(at, name) else {
            return Ok(Step::Missing);
        };
        Ok(Step::To(match self.entry(child).map(|entry| &entry.kind) {
            Some(EntryKind::Symlink(target)) => {
                let from_the_root = way
                    .enter(target)
                    .map_err(|error| Error::corrupt(error.message()))?;
                if from_the_root { ROOT } else { at }
            }
            _ => child,
        }))
    }

    /// Makes an implied directory called `name` in `dir`, in place of what was there.
    fn add(&mut self, dir: DraftId, name: &[u8]) -> Result<DraftId> {
        let id = self.drafts.len();
        let path_len = self.link(dir, name, id)?;
        self.draft(dir, path_len);
        Ok(id)
    }

    fn draft(&mut self, parent: DraftId, path_len: u32) {
        self.drafts.push(Draft {
            parent,
            path_len,
            layer: self.layer,
            entry: None,
            children: BTreeMap::new(),
        });
    }

    /// Gives a file the name `name` in `dir`, in place of what had it, and returns the length of
    /// its path.
    fn link(&mut self, dir: DraftId, name: &[u8], id: DraftId) -> Result<u32> {
        self.names += 1;
        // The root has no name and counts as well.
        if self.names >= self.max_names {
            return Err(Error::permanent(format!("more than {} files", self.max_names)));
        }
        let path_len = self.drafts[dir].path_len + 1 + name.len() as u32;
        if path_len > MAX_PATH_LEN {
            return Err(Error::permanent(format!(
                "a path of more than {MAX_PATH_LEN} bytes"
            )));
        }
        self.drafts[dir].children.insert(name.into(), id);
        Ok(path_len)
    }

    /// Numbers the files that names lead to in the order of a walk, and counts the names of each.
    fn finish(mut self) -> Vec<NodeData> {
        let mut numbers: Vec<Option<NodeId>> = vec![None; self.drafts.len()];
        let mut nodes: Vec<NodeData> = Vec::new();
        // In the order of a walk backwards; a stack, because the depth is the image's choice.
        let mut ahead = vec![(NodeId::ROOT, ROOT)];
        let mut order = Vec::new();
        while let Some((parent, id)) = ahead.pop() {
            let is_dir = self.is_dir(id);
            if let Some(seen) = numbers[id] {
                nodes[seen.index()].links += 1;
                continue;
            }
            let number = NodeId(nodes.len() as u32);
            numbers[id] = Some(number);
            order.push(id);
            let Draft { layer, entry, .. } = self.drafts[id];
            nodes.push(NodeData {
                parent,
                layer,
                entry,
                // A directory is named by its own `.` as well, and by the `..` of each directory in
                // it.
                links: if is_dir { 2 } else { 1 },
                children: Box::default(),
            });
            if is_dir && number != NodeId::ROOT {
                nodes[parent.index()].links += 1;
            }
            ahead.extend(
                self.drafts[id]
                    .children
                    .values()
                    .rev()
                    .map(|child| (number, *child)),
            );
        }
        for (node, id) in nodes.iter_mut().zip(order) {
            let children = std::mem::take(&mut self.drafts[id].children).into_iter();
            let numbered = |(name, child): (_, DraftId)| numbers[child].map(|number| (name, number));
            node.children = children.filter_map(numbered).collect();
        }
        nodes
    }
}

enum Step {
    To(DraftId),
    Missing,
}

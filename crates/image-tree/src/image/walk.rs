//! Everything below a directory.

use super::{Children, Node};

/// The paths below a directory and their nodes, see [`Node::walk`]. A path is relative to that directory.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    /// One iterator for each directory on the way down; a stack, because the depth is the image's choice.
    dirs: Vec<Children<'a>>,
    /// The path of the directory the last of them is in, and where each of its components begins.
    path: Vec<u8>,
    ends: Vec<usize>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(start: Node<'a>) -> Self {
        Self {
            dirs: vec![start.children()],
            path: Vec::new(),
            ends: Vec::new(),
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (Vec<u8>, Node<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((name, node)) = self.dirs.last_mut()?.next() else {
                self.dirs.pop();
                self.path.truncate(self.ends.pop().unwrap_or(0));
                continue;
            };
            let parent = self.path.len();
            let mut path = self.path.clone();
            if parent > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            if node.entry().is_dir() {
                self.ends.push(parent);
                self.path.clone_from(&path);
                self.dirs.push(node.children());
            }
            return Some((path, node));
        }
    }
}

//! Names as a tar writes them, and the normal form they are kept in.
//!
//! The normal form has no leading, trailing or double slash, no `.` and no `..`; the root is the empty path. A `..` takes
//! away the component before it and stays at the root when there is none, as containerd's
//! `filepath.Clean("/" + name)` does: a name can never leave the root.

use std::fmt;

/// The prefix of a whiteout's name (OCI image specification, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// The prefix of AUFS's own files, which are no part of an image.
const WHITEOUT_META: &[u8] = b".wh..wh.";
/// The name of an opaque whiteout.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// `name` in normal form; `None` when it contains a NUL byte, which no file system can store.
pub(crate) fn normalise(name: &[u8]) -> Option<Box<[u8]>> {
    if name.contains(&0) {
        return None;
    }
    let mut out: Vec<u8> = Vec::with_capacity(name.len());
    for component in components(name) {
        if component == b".." {
            let parent = out.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            out.truncate(parent);
        } else {
            if !out.is_empty() {
                out.push(b'/');
            }
            out.extend_from_slice(component);
        }
    }
    Some(out.into_boxed_slice())
}

/// Whether `path` is what [`normalise`] makes.
pub(crate) fn is_normal(path: &[u8]) -> bool {
    path.is_empty()
        || !path.contains(&0)
            && path
                .split(|&byte| byte == b'/')
                .all(|component| !matches!(component, b"" | b"." | b".."))
}

/// The components of a path or link target, without empty ones and `.`.
pub(crate) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
        .filter(|component| !matches!(*component, b"" | b"."))
}

/// The directory of a normalised path, and its name there; `None` for the root.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None if path.is_empty() => None,
        None => Some((b"", path)),
    }
}

/// What the name of an entry says about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is part of the layer's tree.
    Member,
    /// It hides the path, in lower layers.
    Whiteout(Box<[u8]>),
    /// It hides everything in this directory, in lower layers.
    Opaque(Box<[u8]>),
    /// It belongs to AUFS.
    Ignored,
    /// It is a whiteout of nothing that can exist.
    Invalid,
}

/// The role of the entry with the normalised `path`.
pub(crate) fn role(path: &[u8]) -> Role {
    let Some((dir, name)) = split(path) else {
        return Role::Member;
    };
    if name == OPAQUE {
        return Role::Opaque(dir.into());
    }
    if components(path).any(|component| component.starts_with(WHITEOUT_META)) {
        return Role::Ignored;
    }
    match name.strip_prefix(WHITEOUT) {
        None => Role::Member,
        Some(b"" | b"." | b"..") => Role::Invalid,
        Some(hidden) if dir.is_empty() => Role::Whiteout(hidden.into()),
        Some(hidden) => Role::Whiteout([dir, b"/", hidden].concat().into()),
    }
}

/// A path in an error message: printable whatever its bytes are, and of bounded length.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX: usize = 200;
        let cut = &self.0[..self.0.len().min(MAX)];
        write!(
            f,
            "`{}{}`",
            cut.escape_ascii(),
            if cut.len() < self.0.len() { "..." } else { "" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_clamped_at_the_root() {
        let cases: [(&[u8], &[u8]); 9] = [
            (b"./a//b/../c", b"a/c"),
            (b"/etc/passwd", b"etc/passwd"),
            (b"../../etc/passwd", b"etc/passwd"),
            (b"a/../../b", b"b"),
            (b"..", b""),
            (b"./", b""),
            (b"a/b/", b"a/b"),
            (b"...", b"..."),
            (b"\xff/\xfe", b"\xff/\xfe"),
        ];
        for (name, normal) in cases {
            assert_eq!(normalise(name).as_deref(), Some(normal), "{}", Shown(name));
        }
        assert_eq!(normalise(b"a\0b"), None);
    }

    #[test]
    fn roles_follow_the_oci_specification() {
        let cases: [(&[u8], Role); 10] = [
            (b"a/b", Role::Member),
            (b"", Role::Member),
            (b".wh.a", Role::Whiteout(b"a"[..].into())),
            (b"a/.wh.b", Role::Whiteout(b"a/b"[..].into())),
            (b".wh..wh..opq", Role::Opaque(b""[..].into())),
            (b"a/.wh..wh..opq", Role::Opaque(b"a"[..].into())),
            (b".wh..wh.plnk/1.2", Role::Ignored),
            (b"a/.wh.", Role::Invalid),
            (b"a/.wh..", Role::Invalid),
            (b"a/.wh...", Role::Invalid),
        ];
        for (path, expected) in cases {
            assert_eq!(role(path), expected, "{}", Shown(path));
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_normal_and_stays(name in "[a./\u{e9}]{0,24}") {
            let normal = normalise(name.as_bytes()).unwrap();
            prop_assert!(is_normal(&normal));
            prop_assert_eq!(normalise(&normal).unwrap(), normal);
        }
    }
}

//! Extended attributes, and the rules that say which of a tar's an entry keeps.
//!
//! An entry keeps what a container engine running on Linux gives the file when it unpacks the
//! layer:
//! - `SCHILY.xattr.NAME` holds the value as raw bytes, `LIBARCHIVE.xattr.NAME` as base64 under a
//!   percent-encoded name. Writers that know both (bsdtar) write both with one value. Engines read
//!   the first alone (containerd `pkg/archive/tar.go`, `paxSchilyXattr`), so it wins; the second
//!   counts where the first is missing. Of two records with one key the last counts, as in Go's
//!   `archive/tar`. The name of a `SCHILY` record is taken as it stands, as engines do, though GNU
//!   tar and bsdtar encode `=` and `%` in it.
//! - `user.*` on files and directories, `security.*`, and the POSIX ACLs `system.posix_acl_access`
//!   and `system.posix_acl_default`. All else is dropped: Linux has no place for it, and containerd
//!   goes on without it (`ENOTSUP`, and `EPERM` for `user.*` on anything else). It drops
//!   `trusted.*` on purpose, so an image cannot speak to an overlay file system above it.
//! - Hard links and whiteouts have none: a hard link shows the file that it names.
//! - A `SCHILY` record beyond a limit refuses the layer, as Linux refuses to store it (`ERANGE`,
//!   `E2BIG`). A `LIBARCHIVE` record that is beyond one, or that cannot be decoded, is dropped,
//!   because engines do not read it at all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::{EntryKind, TreeLimits};

/// Longest name of an attribute in bytes: `XATTR_NAME_MAX` of Linux.
const MAX_NAME_LEN: usize = 255;

/// libarchive writes no padding, others do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// An extended attribute of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Xattr {
    /// The name with its namespace, `security.capability` for one. At most 255 bytes, none of them
    /// NUL, not necessarily UTF-8.
    pub name: Box<[u8]>,
    /// The value, any bytes. It is not checked to be what the namespace asks for.
    pub value: Box<[u8]>,
}

impl Xattr {
    /// Length of name and value together, as the limits count it.
    pub(crate) fn len(&self) -> usize {
        self.name.len() + self.value.len()
    }
}

impl fmt::Debug for Xattr {
    /// Shows the name and the length of the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} bytes", self.name.escape_ascii(), self.value.len())
    }
}

/// The attributes that the PAX records of one entry state.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stated<'a>(BTreeMap<Cow<'a, [u8]>, Value<'a>>);

#[derive(Debug, PartialEq, Eq)]
enum Value<'a> {
    Schily(&'a [u8]),
    Libarchive(Vec<u8>),
}

impl<'a> Stated<'a> {
    /// Takes in a record, if it is one of an attribute.
    pub(crate) fn add(&mut self, key: &'a str, value: &'a [u8]) {
        if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
            self.0.insert(name.as_bytes().into(), Value::Schily(value));
        } else if let Some(name) = key.strip_prefix("LIBARCHIVE.xattr.")
            && let Ok(value) = BASE64.decode(value)
        {
            match self.0.entry(percent_decoded(name.as_bytes())) {
                Slot::Occupied(other) if matches!(other.get(), Value::Schily(_)) => {}
                Slot::Occupied(mut other) => drop(other.insert(Value::Libarchive(value))),
                Slot::Vacant(slot) => drop(slot.insert(Value::Libarchive(value))),
            }
        }
    }

    /// The attributes that an entry of this kind keeps, sorted by name; an error names the limit
    /// that one goes beyond.
    pub(crate) fn kept_by(self, kind: &EntryKind, limits: &TreeLimits) -> Result<Box<[Xattr]>, &'static str> {
        let mut kept = Vec::new();
        for (name, value) in self.0 {
            if !may_have(kind, &name) {
                continue;
            }
            let (value, required) = match value {
                Value::Schily(value) => (value.into(), true),
                Value::Libarchive(value) => (value, false),
            };
            let xattr = Xattr {
                name: name.into(),
                value: value.into(),
            };
            match within(&xattr, kept.len(), limits) {
                Ok(()) => kept.push(xattr),
                Err(limit) if required => return Err(limit),
                Err(_) => {}
            }
        }
        Ok(kept.into())
    }
}

/// Whether these are what [`Stated::kept_by`] may give an entry of this kind.
pub(crate) fn are_kept(xattrs: &[Xattr], kind: &EntryKind, limits: &TreeLimits) -> bool {
    xattrs.is_sorted_by(|one, next| one.name < next.name)
        && xattrs
            .iter()
            .enumerate()
            .all(|(n, xattr)| may_have(kind, &xattr.name) && within(xattr, n, limits).is_ok())
}

/// Whether Linux has a place for an attribute of this name on a file of this kind, and container
/// engines fill it.
fn may_have(kind: &EntryKind, name: &[u8]) -> bool {
    use EntryKind::{Dir, File, HardLink, Opaque, Symlink, Whiteout};
    if matches!(kind, HardLink(_) | Whiteout | Opaque) || name.contains(&0) {
        return false;
    }
    let is_in = |namespace: &[u8]| name.len() > namespace.len() && name.starts_with(namespace);
    match name {
        b"system.posix_acl_access" => !matches!(kind, Symlink(_)),
        b"system.posix_acl_default" => *kind == Dir,
        _ => is_in(b"security.") || is_in(b"user.") && matches!(kind, File(_) | Dir),
    }
}

/// Checks the attribute that is to stand after `before` others of its entry.
fn within(xattr: &Xattr, before: usize, limits: &TreeLimits) -> Result<(), &'static str> {
    if xattr.name.len() > MAX_NAME_LEN {
        return Err("the name of an extended attribute is too long");
    }
    if xattr.value.len() > limits.max_xattr_len as usize {
        return Err("an extended attribute is too long");
    }
    if before >= limits.max_xattrs {
        return Err("it has too many extended attributes");
    }
    Ok(())
}

/// The bytes that a percent-encoded name stands for. A `%` that begins no escape stands for itself,
/// as in libarchive.
fn percent_decoded(name: &[u8]) -> Cow<'_, [u8]> {
    if !name.contains(&b'%') {
        return name.into();
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, after)) = rest.split_first() {
        let escape = match after {
            [high, low, after @ ..] if first == b'%' => digit(high).zip(digit(low)).zip(Some(after)),
            _ => None,
        };
        match escape {
            Some(((high, low), after)) => {
                out.push((16 * high + low) as u8);
                rest = after;
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FileData;

    fn kept(records: &[(&str, &[u8])], kind: &EntryKind) -> Result<Vec<(String, Vec<u8>)>, &'static str> {
        let mut stated = Stated::default();
        for (key, value) in records {
            stated.add(key, value);
        }
        let limits = TreeLimits::default();
        let kept = stated.kept_by(kind, &limits)?;
        assert!(are_kept(&kept, kind, &limits));
        let text = |xattr: &Xattr| (xattr.name.escape_ascii().to_string(), xattr.value.to_vec());
        Ok(kept.iter().map(text).collect())
    }

    fn file() -> EntryKind {
        EntryKind::File(FileData::contiguous(0, 0))
    }

    #[test]
    fn raw_bytes_win_over_base64_and_the_last_of_a_key_over_the_first() {
        let records: [(&str, &[u8]); 8] = [
            ("LIBARCHIVE.xattr.user.both", b"b2xk"),
            ("SCHILY.xattr.user.both", b"a\0=\n\xff"),
            ("LIBARCHIVE.xattr.user.both", b"b2xk"),
            ("LIBARCHIVE.xattr.user.%61%3D%zz%C3%A4%", b"aGk="),
            ("LIBARCHIVE.xattr.user.twice", b"aGk"),
            ("LIBARCHIVE.xattr.user.twice", b"aG8"),
            ("LIBARCHIVE.xattr.user.no-base64", b"a\nb"),
            ("SCHILY.xattr.user.empty", b""),
        ];
        let expected: [(&str, &[u8]); 4] = [
            ("user.a=%zz\\xc3\\xa4%", b"hi"),
            ("user.both", b"a\0=\n\xff"),
            ("user.empty", b""),
            ("user.twice", b"ho"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_vec()));
        assert_eq!(kept(&records, &file()).unwrap(), expected);
    }

    #[test]
    fn an_entry_keeps_what_linux_has_a_place_for() {
        let names = [
            "security.capability",
            "system.posix_acl_access",
            "system.posix_acl_default",
            "user.a",
            "com.apple.quarantine",
            "security.",
            "system.nfs4_acl",
            "trusted.overlay.opaque",
            "user.nul\0",
            "",
        ];
        let link = || Box::from(&b"target"[..]);
        let cases: [(EntryKind, &[usize]); 7] = [
            (file(), &[0, 1, 3]),
            (EntryKind::Dir, &[0, 1, 2, 3]),
            (EntryKind::Symlink(link()), &[0]),
            (EntryKind::Fifo, &[0, 1]),
            (EntryKind::CharDevice { major: 0, minor: 0 }, &[0, 1]),
            (EntryKind::HardLink(link()), &[]),
            (EntryKind::Whiteout, &[]),
        ];
        let keys = names.map(|name| format!("SCHILY.xattr.{name}"));
        let records: Vec<_> = keys.iter().map(|key| (key.as_str(), &b"v"[..])).collect();
        for (kind, expected) in cases {
            let seen: Vec<_> = kept(&records, &kind)
                .unwrap()
                .into_iter()
                .map(|(name, _)| name)
                .collect();
            let expected: Vec<_> = expected.iter().map(|n| names[*n]).collect();
            assert_eq!(seen, expected, "{kind:?}");
        }
    }

    #[test]
    fn raw_bytes_beyond_a_limit_are_refused_and_base64_dropped() {
        let long = "x".repeat(MAX_NAME_LEN - "user.".len());
        let mixed = vec![
            (format!("SCHILY.xattr.user.{long}"), vec![0; 65536]),
            (format!("LIBARCHIVE.xattr.user.{long}y"), Vec::new()),
            ("LIBARCHIVE.xattr.user.long".into(), vec![b'A'; 90_000]),
        ];
        let all = |of: Vec<(String, Vec<u8>)>| {
            let records: Vec<_> = of.iter().map(|(key, value)| (key.as_str(), &value[..])).collect();
            kept(&records, &file()).map(|kept| kept.len())
        };
        assert_eq!(all(mixed), Ok(1));
        assert!(all(vec![(format!("SCHILY.xattr.user.{long}y"), Vec::new())]).is_err());
        assert!(all(vec![("SCHILY.xattr.user.a".into(), vec![0; 65537])]).is_err());
        assert_eq!(
            all(vec![("SCHILY.xattr.trusted.a".into(), vec![0; 65537])]),
            Ok(0)
        );
        let many = |kind: &str, count: usize| {
            (0..count)
                .map(|n| (format!("{kind}.xattr.user.{n}"), Vec::new()))
                .collect()
        };
        assert_eq!(all(many("SCHILY", 256)), Ok(256));
        assert!(all(many("SCHILY", 257)).is_err());
        assert_eq!(all(many("LIBARCHIVE", 257)), Ok(256));
    }
}

//! How much of a hostile tar is believed.

/// Bounds on what a tree may hold. Going over one is a [`Permanent`](cache_core::ErrorKind::Permanent) error that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeLimits {
    /// Entries of one layer. Default 2,000,000.
    pub max_entries: usize,
    /// Bytes of a path or of a link's target. Default 4096, `PATH_MAX` of Linux.
    pub max_path_len: u32,
    /// Bytes of all extension headers (PAX, GNU long names) in front of one entry. Default 1 MiB.
    pub max_header_len: u32,
    /// Data regions of one sparse file. Default 50,000.
    pub max_extents: usize,
    /// Extended attributes of one entry. Default 256: a file has fewer than ten, and Linux lists 64
    /// KiB of names.
    pub max_xattrs: usize,
    /// Bytes of an extended attribute's value. Default 64 KiB, `XATTR_SIZE_MAX` of Linux. A name
    /// has 255 at most, whatever the limits say (`XATTR_NAME_MAX`).
    pub max_xattr_len: u32,
    /// Bytes of all extended attributes of one layer, names and values. Default 128 MiB: each of
    /// `max_entries` files may have a label of SELinux.
    pub max_layer_xattrs: u64,
    /// Bytes of memory one layer's tree may take, estimated from its entries. Default 512 MiB.
    pub max_memory: u64,
    /// Names an image's tree may create, including directories that no layer names and files that
    /// upper layers hide again. One takes up to 350 bytes and its name. Default 4,000,000.
    pub max_nodes: usize,
}

impl Default for TreeLimits {
    fn default() -> Self {
        Self {
            max_entries: 2_000_000,
            max_path_len: 4096,
            max_header_len: 1 << 20,
            max_extents: 50_000,
            max_xattrs: 256,
            max_xattr_len: 64 << 10,
            max_layer_xattrs: 128 << 20,
            max_memory: 512 << 20,
            max_nodes: 4_000_000,
        }
    }
}

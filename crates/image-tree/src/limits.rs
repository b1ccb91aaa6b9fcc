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
    /// Bytes of memory one layer's tree may take, estimated from its entries. Default 512 MiB.
    pub max_memory: u64,
    /// Nodes an image's tree may create, including directories that no layer names and nodes that upper layers hide
    /// again. One takes 100 to 350 bytes and its name. Default 4,000,000.
    pub max_nodes: usize,
}

impl Default for TreeLimits {
    fn default() -> Self {
        Self {
            max_entries: 2_000_000,
            max_path_len: 4096,
            max_header_len: 1 << 20,
            max_extents: 50_000,
            max_memory: 512 << 20,
            max_nodes: 4_000_000,
        }
    }
}

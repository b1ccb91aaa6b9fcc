//! Origins of layers: OCI registries, OCI layouts and image archives.

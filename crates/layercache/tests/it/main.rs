//! End-to-end tests: the binary `layercache` against real registries and hostile ones, and the assembly as a library.

mod assembly;
mod auth;
mod bad_directory;
mod bad_image;
mod bad_registry;
mod configuration;
mod crash;
mod demo;
mod environment;
mod files;
mod gc;
mod image;
mod images;
mod inspection;
mod kill;
mod one_inflate;
mod oracle;
mod real_image;
mod registry;
mod remote;
mod repair;
mod sandbox;
mod tmpfs;
mod upkeep;
mod usage;
mod warm;

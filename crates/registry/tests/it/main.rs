//! Stories of the origins, against a registry on loopback that misbehaves as told and against files made on the spot.

mod access;
mod blobs;
mod credentials;
mod fixture;
mod images;
mod laws;
mod layouts;
mod mirrors;
mod server;

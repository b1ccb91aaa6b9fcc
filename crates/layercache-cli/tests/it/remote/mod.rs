//! Workers that share layers through Redis and S3.

mod cost;
mod faults;
mod real_image;
mod relay;
pub(crate) mod share;
mod workers;

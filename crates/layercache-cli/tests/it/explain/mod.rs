//! What opening a layer would do, and whether it then does.

mod command;
mod moved;
mod plan;

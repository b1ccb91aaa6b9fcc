//! `layercache`: pulls images into the layer cache, and reads files out of them.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}

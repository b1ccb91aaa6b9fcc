//! `cargo xtask instructions`: how many instructions a warm read takes, counted by callgrind.
//!
//! Time is different on each machine and at each moment, this number is the same: so it is what CI can hold on to.

use anyhow::{Context as _, Result, ensure};
use lab::{apt, dirs};
use xshell::{Shell, cmd};

/// What reading 4 KiB of the page cache may take, without what the kernel does: a tenth above what it takes.
const LIMIT: f64 = 385.0;

pub(crate) fn run(sh: &Shell) -> Result<()> {
    apt::ensure(sh, &["valgrind"])?;
    cmd!(
        sh,
        "cargo build --locked --profile quick --package cache-disk --example warm_read"
    )
    .run()?;
    let binary = dirs::target(sh)?.join("quick/examples/warm_read");
    let count = |reads: &str| -> Result<f64> {
        let output = cmd!(
            sh,
            "valgrind --tool=callgrind --callgrind-out-file=/dev/null {binary} {reads}"
        )
        .read_stderr()?;
        collected(&output).with_context(|| format!("callgrind says no count:\n{output}"))
    };
    // What comes before and after the reads is the same in both.
    let (few, many) = (count("1000")?, count("11000")?);
    let one = (many - few) / 10_000.0;
    eprintln!("a warm read of 4 KiB takes {one:.0} instructions, of {LIMIT} that it may");
    ensure!(
        one <= LIMIT,
        "a warm read of 4 KiB takes {one:.0} instructions, more than {LIMIT}: what has become slower?"
    );
    // A read that does nothing is no read.
    ensure!(one > 10.0, "{one} instructions are no read");
    Ok(())
}

/// The total in what callgrind prints at its end.
fn collected(output: &str) -> Option<f64> {
    let (_, count) = output.split_once("Collected : ")?;
    count.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::collected;

    #[test]
    fn the_total_is_found() {
        let output = "==1== Events    : Ir\n==1== Collected : 5042\n==1== \n==1== I   refs:      5,042\n";
        assert_eq!(collected(output), Some(5042.0));
        assert_eq!(collected("valgrind: no such file"), None);
    }
}

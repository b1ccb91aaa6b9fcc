//! Replays what workers open on caches of several sizes, and compares the order in which the tier evicts with the plain order of last
//! use: `cargo run -p cache-disk --example eviction`. With `--write` the table goes into docs/performance.md.
//!
//! The clock is virtual and the traces are made from seeds: the same figures come out each time.

#[path = "../../src/space/policy.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the tier's own file, of which this needs a part"
)]
mod policy;
mod replay;
mod trace;

use std::fmt::Write as _;
use std::path::Path;

use replay::{Order, Ratios, replay};
use trace::{Recipe, Trace};

/// Sizes of the caches in GiB: from a tenth of what is opened to nearly all of it.
const SIZES: [u64; 4] = [10, 20, 40, 80];

fn main() {
    let mut table = String::from(
        "| trace | cache | hits, last use | hits, kept | bytes, last use | bytes, kept |\n|---|---|---|---|---|---|\n",
    );
    for recipe in &Recipe::ALL {
        let trace = Trace::of(recipe);
        for gib in SIZES {
            let ratios = |order| replay(&trace, gib << 30, order);
            let (plain, kept) = (ratios(Order::LastUse), ratios(Order::Kept));
            table.push_str(&row(recipe, gib, plain, kept));
            eprint!(".");
        }
    }
    eprintln!();
    print!("{table}");
    if std::env::args().any(|argument| argument == "--write") {
        write(&table);
    }
}

fn row(recipe: &Recipe, gib: u64, plain: Ratios, kept: Ratios) -> String {
    let mut row = format!("| {} | {gib} GiB |", recipe.name);
    for ratio in [plain.opens, kept.opens, plain.bytes, kept.bytes] {
        write!(row, " {:.1} % |", 100.0 * ratio).expect("a text takes any length");
    }
    row + "\n"
}

/// Replaces what is between the marks of the table.
fn write(table: &str) {
    const BEGIN: &str = "<!-- eviction -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/performance.md");
    let page = std::fs::read_to_string(&path).expect("the page can be read");
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the page has the mark of the table");
    let (_, after) = rest.split_once("<!-- end -->").expect("the table has an end");
    let page = format!("{before}{BEGIN}{table}<!-- end -->{after}");
    std::fs::write(path, page).expect("the page can be written");
}

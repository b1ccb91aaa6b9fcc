//! `demo`: the table that shows what the cache is for.

use crate::environment::debian;
use crate::sandbox::Sandbox;

/// The inflates of the three ways, and the bytes that each has fetched, as the table says.
fn rows(table: &str) -> Vec<(String, String)> {
    ["old way: registry alone", "cache, cold", "cache, restarted"]
        .iter()
        .map(|way| {
            let row = table.lines().find_map(|line| line.strip_prefix(way));
            let words: Vec<_> = row
                .unwrap_or_else(|| panic!("{table}"))
                .split_whitespace()
                .collect();
            // Time and its unit, inflates, bytes and their unit, memory and its unit.
            (words[2].to_owned(), words[3..5].join(" "))
        })
        .collect()
}

#[test]
fn fifty_reads_inflate_fifty_times_without_and_thrice_with_the_cache() {
    let sandbox = Sandbox::new();
    let demo = sandbox.run(["demo", "--files", "50"]);
    assert_eq!(demo.code, Some(0), "{}", demo.stderr);
    let table = demo.text();
    assert!(table.contains("50 reads of an image of 3 layers"), "{table}");
    let rows = rows(table);
    let inflates: Vec<_> = rows.iter().map(|(inflates, _)| inflates.as_str()).collect();
    assert_eq!(inflates, ["50", "3", "0"]);
    assert_eq!(rows[2].1, "0 B", "{table}");
    assert!(table.contains("times faster cold"), "{table}");
    // It has its own cache, and leaves the user's alone.
    assert!(!sandbox.cache_dir().exists());
}

#[test]
fn any_image_will_do() {
    let sandbox = Sandbox::new();
    let demo = sandbox.run(["demo", "--files", "3", "--image", &debian("small")]);
    assert_eq!(demo.code, Some(0), "{}", demo.stderr);
    let inflates: Vec<_> = rows(demo.text())
        .into_iter()
        .map(|(inflates, _)| inflates)
        .collect();
    assert_eq!(inflates, ["3", "1", "0"]);
    for (way, inflates) in [("registry", 3), ("cold", 1), ("warm", 0)] {
        let figures = &demo.stats[way];
        assert_eq!(figures["inflates"], inflates, "{}", demo.stats);
        assert!(figures["peak_rss_bytes"].is_u64() && figures["tiers"].is_object());
    }
    let failed = sandbox.run(["demo", "--image", &debian("nothing")]);
    assert_eq!(failed.code, Some(1));
    assert!(
        failed.stderr.lines().last().unwrap().contains("no tag nothing"),
        "{}",
        failed.stderr
    );
}

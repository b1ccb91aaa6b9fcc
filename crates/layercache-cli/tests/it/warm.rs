//! `warm`: a list of images, some of which cannot be had.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::image::{Image, noise, tar};
use crate::registry::Registry;
use crate::sandbox::{Sandbox, one_line};

/// A sandbox with three images in layouts.
fn images() -> (Sandbox, [String; 3]) {
    let sandbox = Sandbox::new();
    let names = [0, 1, 2].map(|number| {
        let mut image = Image::of_files(&[("data", &noise(50_000 + number))]);
        image.add_tar(&tar(&[("etc/motd", b"welcome")]));
        image.write_layout(&sandbox.path(&format!("image{number}")))
    });
    (sandbox, names)
}

fn of_image<'a>(lines: &'a [Value], name: &str) -> &'a Value {
    lines.iter().find(|line| line["image"] == name).unwrap()
}

#[test]
fn every_image_of_a_list_is_in_the_cache_afterwards() {
    let (sandbox, names) = images();
    let list = format!(
        "# what workers need\n{}\n\n  {}   # twice\n{0}\n",
        names[0], names[1]
    );
    let list = sandbox.write("images.txt", list);
    let warmed = sandbox.succeed(["warm", "-f", list.to_str().unwrap(), &names[2], "--json"]);
    let lines = warmed.json_lines();
    assert_eq!(
        lines.len(),
        3,
        "one that is named twice is brought once: {}",
        warmed.text()
    );
    for name in &names {
        let line = of_image(&lines, name);
        assert_eq!((&line["outcome"], &line["layers"]), (&json!("warm"), &json!(2)));
        assert!(
            line["bytes"].as_u64().unwrap() > 50_000 && line["error"].is_null(),
            "{line}"
        );
    }
    let usage = sandbox.succeed(["cache", "usage", "--json"]).json();
    assert_eq!(
        (&usage["layers"], &usage["unattributed_layers"]),
        (&json!(4), &json!(0))
    );
    assert_eq!(usage["images"].as_array().unwrap().len(), 3);
    for name in &names {
        assert_eq!(sandbox.succeed(["cat", name, "/etc/motd"]).inflates(), 0);
    }
    // Again there is nothing to fetch.
    let again = sandbox.succeed(["warm", "-f", list.to_str().unwrap(), "--jobs", "1"]);
    assert_eq!((again.inflates(), again.text().lines().count()), (0, 2));
    assert!(again.text().contains("  warm  2 layers, "), "{}", again.text());
}

#[test]
fn an_image_that_fails_keeps_no_other_from_being_brought() {
    let (sandbox, names) = images();
    let gone = Registry::of_image(Image::of_files(&[("data", b"data")]), |_| None).image();
    let list = format!("{}\n{gone}\nUPPER/CASE\n{}\n", names[0], names[1]);
    let list = sandbox.write("images.txt", list);
    let warmed = sandbox.run(["warm", "-f", list.to_str().unwrap(), "--json"]);
    assert_eq!(warmed.code, Some(1));
    let said = one_line(&warmed.stderr);
    assert!(
        said.contains("2 of 4 images failed: ") && said.contains(&gone),
        "{said}"
    );
    assert!(said.contains("UPPER/CASE"), "{said}");
    let lines = warmed.json_lines();
    assert_eq!(lines.len(), 4);
    for (name, outcome) in [(&names[0], "warm"), (&names[1], "warm"), (&gone, "failed")] {
        assert_eq!(of_image(&lines, name)["outcome"], outcome);
    }
    let wrong = of_image(&lines, "UPPER/CASE");
    assert!(
        wrong["error"]
            .as_str()
            .unwrap()
            .starts_with("line 3 of the list: "),
        "{wrong}"
    );
    assert_eq!(sandbox.succeed(["cache", "usage", "--json"]).json()["layers"], 3);
}

#[test]
fn the_list_may_come_on_standard_input() {
    let (sandbox, names) = images();
    let mut command = sandbox.command(["warm", "-f", "-"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}\n{}", names[0], names[1]).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        String::from_utf8(output.stdout)
            .unwrap()
            .matches("  warm  ")
            .count(),
        2
    );
}

#[test]
fn a_list_that_cannot_be_read_is_named_and_an_empty_one_is_done() {
    let sandbox = Sandbox::new();
    assert!(
        sandbox
            .fail(["warm", "-f", "nothing.txt"])
            .contains("nothing.txt")
    );
    let empty = sandbox.write("empty.txt", "# nothing yet\n");
    let outcome = sandbox.run(["warm", "-f", empty.to_str().unwrap()]);
    assert_eq!((outcome.code, outcome.text()), (Some(0), ""));
    assert_eq!(
        outcome.stderr,
        " WARN the list names no image: there is nothing to bring\n"
    );
    // A device that never ends is no list.
    assert!(sandbox.fail(["warm", "-f", "/dev/zero"]).contains("/dev/zero"));
}

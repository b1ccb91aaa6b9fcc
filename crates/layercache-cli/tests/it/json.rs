//! The page about the JSON of the commands says what they print: all of it, and nothing else.

use cache_testkit::{RedisServer, check_json_page as check};

use crate::image::Image;
use crate::remote::share::redis_at;
use crate::sandbox::Sandbox;

#[test]
fn the_page_has_the_keys_that_are_printed() {
    let sandbox = Sandbox::new();
    let mut image = Image::of_files(&[("etc/hello", b"hello"), ("etc/motd", b"welcome")]);
    image.add_tar(&crate::image::tar(&[("etc/hosts", b"localhost")]));
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    let mut links = tar::Builder::new(Vec::new());
    links.append_link(&mut link, "etc/link", "hello").unwrap();
    image.add_tar(&links.into_inner().unwrap());
    let name = &image.write_layout(&sandbox.path("layout"));
    let lines = |arguments: &[&str]| {
        sandbox
            .run(arguments.iter().copied().chain(["--json"]))
            .json_lines()
    };

    let cold = lines(&["explain", name, "/etc/hello"]);
    let pulled = sandbox.run(["pull", name, "--json"]);
    check("`pull`", &pulled.json_lines());
    check("`--stats`", std::slice::from_ref(&pulled.stats));
    let warm = lines(&["explain", name, "/etc/hello"]);
    check("`explain`", &[cold, warm].concat());
    check("`inspect`", &lines(&["inspect", name]));
    let list = sandbox.write("list", format!("{name}\nno image!\n"));
    check("`warm`", &lines(&["warm", "-f", list.to_str().unwrap()]));
    check("`cache list`", &lines(&["cache", "list"]));
    check("`cache usage`", &lines(&["cache", "usage"]));
    check("`cache verify`", &lines(&["cache", "verify"]));
    let pins = [lines(&["cache", "pin", name]), lines(&["cache", "unpin", name])];
    check("`cache pin`, `cache unpin`", &pins.concat());
    check("`config check`", &lines(&["config", "check"]));
    check("`config show`", &lines(&["config", "show"]));

    let redis = RedisServer::start(&[]);
    let config = "[[tier]]\nkind = \"disk\"\n".to_owned() + &redis_at(redis.address());
    let config = sandbox.write("config.toml", &config);
    let pushed = lines(&["--config", config.to_str().unwrap(), "push", name]);
    check("`push`", &pushed);
    let digest = pushed[0]["digest"].as_str().unwrap();
    check("`cache remove`", &lines(&["cache", "remove", digest]));
    let removals = [
        lines(&["cache", "gc", "--max-bytes", "0", "--dry-run"]),
        lines(&["cache", "clear"]),
    ];
    check("`cache gc`, `cache clear`", &removals.concat());

    check("`ls`", &lines(&["ls", "-R", name]));
}

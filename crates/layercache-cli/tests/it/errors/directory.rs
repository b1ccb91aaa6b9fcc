//! A cache directory that cannot or must not be used, and what is in it.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::Row;
use crate::image::{Image, noise};
use crate::remote::share::REGISTRY;
use crate::sandbox::Sandbox;

pub(super) fn rows() -> Vec<Row> {
    let sandbox = Sandbox::new();
    let files: [(&str, &[u8]); 2] = [("etc/hello", b"hello"), ("data", &noise(300_000))];
    let image = Image::of_files(&files).write_layout(&sandbox.path("layout"));
    let row = |situation, dir: &str| {
        let dir = sandbox.path(dir);
        let arguments = ["pull", &image, "--cache-dir", dir.to_str().unwrap()];
        Row::of_command(situation, &sandbox, &arguments)
    };
    sandbox.write("file", "precious");
    let directory = |name: &str, mode: u32| {
        let dir = sandbox.path(name);
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
        dir
    };
    directory("open", 0o777);
    symlink(directory("real", 0o700), sandbox.path("link")).unwrap();
    let small = format!(
        "[[tier]]\nkind = \"disk\"\ndir = {:?}\nmax_bytes = 100000\n",
        sandbox.path("small")
    );
    let small = sandbox.write("small.toml", small + REGISTRY);
    vec![
        row("a path below a file", "file/cache"),
        row("a file", "file"),
        row("a directory that others can write to", "open"),
        row("a link to a directory", "link"),
        Row::of_command(
            "a layer that does not fit",
            &sandbox,
            &["pull", &image, "--config", small.to_str().unwrap()],
        ),
        row_of_damage(&sandbox, &image),
        row_of_a_lie(&sandbox, &image),
    ]
}

fn row_of_damage(sandbox: &Sandbox, image: &str) -> Row {
    sandbox.succeed(["pull", image]);
    let layer = sandbox
        .cached_files()
        .into_iter()
        .find(|file| file.ends_with("decompressed"));
    let path = sandbox.cache_dir().join(layer.unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    Row::of_command(
        "a layer that a failing disk has damaged",
        sandbox,
        &["cache", "verify"],
    )
}

fn row_of_a_lie(sandbox: &Sandbox, image: &str) -> Row {
    sandbox.succeed(["pull", image]);
    let files: [(&str, &[u8]); 2] = [("etc/hello", b"hello"), ("data", &noise(300_000))];
    let mut lying = Image::of_files(&files);
    lying.diff_ids[0] = layercache::core::Digest::sha256_of(b"another layer").to_string();
    let lying = lying.write_layout(&sandbox.path("lying"));
    Row::of_command(
        "an image that lies about a layer that is cached",
        sandbox,
        &["ls", &lying],
    )
}

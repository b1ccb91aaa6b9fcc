//! What should not be there when everything is at rest.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The longest layer, with its companions.
const ONE_LAYER: u64 = 7 << 20;

pub(crate) async fn find(cache: &Path, max_bytes: u64, redis: SocketAddr) -> Vec<String> {
    let mut leftovers = Vec::new();
    let mut bytes = 0;
    for entry in walk(cache) {
        let name = entry.strip_prefix(cache).unwrap().display().to_string();
        bytes += entry.metadata().map_or(0, |metadata| metadata.len());
        if !(name.starts_with("layer-") && (name.ends_with(".decompressed") || name.ends_with(".index"))) {
            leftovers.push(format!("file {name}"));
        }
    }
    if bytes > max_bytes + ONE_LAYER {
        leftovers.push(format!(
            "{bytes} bytes in the cache directory, which may have {max_bytes}"
        ));
    }
    // Chunks of layers that are not there, and that would stay for ever.
    let keys: BTreeSet<String> = ask(redis, "KEYS clip:oci:layer:decompressed:*")
        .await
        .into_iter()
        .collect();
    for key in &keys {
        let Some((layer, chunk)) = key.rsplit_once(':') else {
            continue;
        };
        let orphan = chunk != "index" && !keys.contains(&format!("{layer}:index"));
        if orphan && ask(redis, &format!("TTL {key}")).await == ["-1"] {
            leftovers.push(format!("key {key}"));
        }
    }
    leftovers
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// What Redis answers to an inline command: one line, or an array of texts.
async fn ask(redis: SocketAddr, command: &str) -> Vec<String> {
    let mut connection = BufReader::new(TcpStream::connect(redis).await.unwrap());
    connection
        .write_all(format!("{command}\r\n").as_bytes())
        .await
        .unwrap();
    let mut line = String::new();
    connection.read_line(&mut line).await.unwrap();
    let (kind, rest) = line.trim_end().split_at(1);
    if kind != "*" {
        return vec![rest.to_owned()];
    }
    let mut answer = Vec::new();
    for _ in 0..rest.parse::<usize>().unwrap() {
        let mut len = String::new();
        connection.read_line(&mut len).await.unwrap();
        let mut text = vec![0; len.trim_end()[1..].parse::<usize>().unwrap() + 2];
        connection.read_exact(&mut text).await.unwrap();
        answer.push(String::from_utf8(text).unwrap().trim_end().to_owned());
    }
    answer
}

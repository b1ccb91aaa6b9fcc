//! The `Content-Range` header of a registry that goes on with a blob.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::inflate::Inflater;
use cache_core::{Digest, ErrorKind, LayerDescriptor, LayerSource};
use futures_util::TryStreamExt;
use registry::{Anonymous, RegistryConfig, RegistryOrigin};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::runtime::block_on;

const BLOB_LEN: usize = 1000;

/// Whatever range a registry says that it goes on with, the blob arrives right, or as an error where other bytes come
/// than it says.
///
/// The first two bytes say where the first answer is cut, the next two which bytes the second one has, each modulo the
/// length of the blob, 1000; the rest are the header of the second.
pub fn content_range(bytes: &[u8]) {
    let Some(([a, b, c, d], header)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    // Others end the header or are refused by every client.
    if !header.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return;
    }
    let at = |high: &u8, low: &u8| usize::from(u16::from_be_bytes([*high, *low])) % BLOB_LEN;
    let script = Script {
        cut: at(a, b).max(1),
        from: at(c, d),
        header: header.to_vec(),
    };
    // Or what it sends happens to be the beginning of what it says it sends.
    let honest = blob()[script.cut..].starts_with(&blob()[script.from..]);
    let claimed = String::from_utf8_lossy(header).into_owned();
    let right = format!("bytes {}-{}/{BLOB_LEN}", script.cut, BLOB_LEN - 1);
    match block_on(fetch(script)) {
        Ok(bytes) => {
            assert!(bytes == blob(), "{claimed:?}: wrong bytes");
            assert!(honest || claimed != right, "{claimed:?} is not believed");
        }
        Err(error) => {
            assert!(!honest, "{claimed:?}: {error}");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{claimed:?}: {error}");
        }
    }
}

/// What the registry does: the first answer ends early, the second is a part, all others are the whole blob.
#[derive(Debug)]
struct Script {
    cut: usize,
    from: usize,
    header: Vec<u8>,
}

fn blob() -> Vec<u8> {
    // Without a period, so that hardly any part of it is like another.
    let byte = |n: u32| b'a' + (n.wrapping_mul(0x9e37_79b1) >> 16) as u8 % 23;
    (0..BLOB_LEN as u32).map(byte).collect()
}

async fn fetch(script: Script) -> cache_core::Result<Vec<u8>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let mut config = RegistryConfig::default();
    config.backoff = Duration::ZERO;
    let origin = RegistryOrigin::new(config, Arc::new(Anonymous), Inflater::default())?;
    let blob = blob();
    let digest = Digest::sha256_of(&blob);
    let layer = LayerDescriptor::new(digest)
        .with_size(BLOB_LEN as u64)
        .with_diff_id(digest)
        .with_repository(format!("{address}/blob"));
    let fetching = async {
        let reader = origin.open(&layer).await?.expect("the registry has the blob");
        let pieces: Vec<Bytes> = reader.stream(0).try_collect().await?;
        Ok(pieces.concat())
    };
    tokio::select! {
        biased;
        fetched = fetching => fetched,
        served = serve(&listener, &script) => panic!("the registry ends: {served:?}"),
    }
}

async fn serve(listener: &TcpListener, script: &Script) -> io::Result<()> {
    let blob = blob();
    for request in 0.. {
        let (connection, _) = listener.accept().await?;
        let mut connection = BufReader::new(connection);
        read_head(&mut connection).await?;
        let mut answer = match request {
            1 => {
                let part = &blob[script.from..];
                let mut head = format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\n",
                    part.len()
                );
                head += "Content-Range: ";
                [
                    head.as_bytes(),
                    &script.header,
                    b"\r\nConnection: close\r\n\r\n",
                    part,
                ]
                .concat()
            }
            _ => {
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {BLOB_LEN}\r\nConnection: close\r\n\r\n");
                [head.as_bytes(), &blob].concat()
            }
        };
        if request == 0 {
            answer.truncate(answer.len() - (BLOB_LEN - script.cut));
        }
        connection.get_mut().write_all(&answer).await?;
        connection.get_mut().shutdown().await?;
    }
    Ok(())
}

/// Reads up to the empty line behind a request's headers; a GET has no body.
async fn read_head(connection: &mut BufReader<TcpStream>) -> io::Result<()> {
    let mut line = String::new();
    while connection.read_line(&mut line).await? > 2 {
        line.clear();
    }
    Ok(())
}

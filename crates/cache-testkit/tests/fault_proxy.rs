//! Each fault does what it says, to connections that are there and to those to come.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cache_testkit::{Fault, FaultProxy, Traffic};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

const DAY: Duration = Duration::from_secs(86_400);

/// Answers each piece with itself, xored with `mask`, so that two upstreams can be told apart.
async fn echo(mask: u8) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = connection.read(&mut piece).await {
                    piece[..length].iter_mut().for_each(|byte| *byte ^= mask);
                    connection.write_all(&piece[..length]).await?;
                }
                io::Result::Ok(())
            });
        }
    });
    address
}

async fn proxy() -> FaultProxy {
    FaultProxy::start(echo(0).await).await
}

/// A connection that has been used: all parts of it are there.
async fn connected(proxy: &FaultProxy) -> TcpStream {
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut client, b"hello").await.unwrap(), b"hello");
    client
}

async fn ask(client: &mut TcpStream, question: &[u8]) -> io::Result<Vec<u8>> {
    client.write_all(question).await?;
    let mut answer = vec![0; question.len()];
    client.read_exact(&mut answer).await?;
    Ok(answer)
}

/// What comes before the end of the stream.
async fn rest(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await?;
    Ok(rest)
}

/// A new connection and what it reads when it says nothing.
async fn silent(proxy: &FaultProxy) -> io::Result<Vec<u8>> {
    rest(&mut TcpStream::connect(proxy.address()).await?).await
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn without_a_fault_everything_passes_and_is_counted() {
    let proxy = proxy().await;
    let question: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
    let (mut reads, mut writes) = TcpStream::connect(proxy.address()).await.unwrap().into_split();
    let asked = question.clone();
    let writing = tokio::spawn(async move {
        writes.write_all(&asked).await.unwrap();
        writes.shutdown().await.unwrap();
    });
    let mut answer = Vec::new();
    reads.read_to_end(&mut answer).await.unwrap();
    writing.await.unwrap();
    assert!(
        answer == question,
        "and the end of the client's stream passes as well"
    );
    let expected = Traffic {
        connections: 1,
        from_upstream: 1_000_000,
        to_upstream: 1_000_000,
    };
    assert_eq!(proxy.traffic(), expected);
}

#[tokio::test]
async fn refusing_closes_present_and_future_connections() {
    let proxy = proxy().await;
    let mut present = connected(&proxy).await;
    proxy.set(Fault::Refuse);
    assert_eq!(rest(&mut present).await.unwrap(), b"");
    assert_eq!(silent(&proxy).await.unwrap(), b"");
    proxy.set(Fault::None);
    connected(&proxy).await;
    assert_eq!(proxy.traffic().connections, 3);
}

#[tokio::test]
async fn resetting_resets_present_and_future_connections() {
    let proxy = proxy().await;
    let mut present = connected(&proxy).await;
    proxy.set(Fault::Reset);
    assert_eq!(kind(rest(&mut present).await), io::ErrorKind::ConnectionReset);
    assert_eq!(kind(silent(&proxy).await), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn stalling_moves_nothing_until_the_fault_changes() {
    let proxy = proxy().await;
    let mut present = connected(&proxy).await;
    let before = proxy.traffic();
    proxy.set(Fault::Stall);
    let mut future = TcpStream::connect(proxy.address()).await.unwrap();
    for client in [&mut present, &mut future] {
        client.write_all(b"anyone?").await.unwrap();
        let silence = timeout(Duration::from_millis(50), client.read_u8()).await;
        silence.expect_err("something came through");
    }
    let after = proxy.traffic();
    assert_eq!(
        (after.from_upstream, after.to_upstream),
        (before.from_upstream, before.to_upstream)
    );
    proxy.set(Fault::None);
    for client in [&mut present, &mut future] {
        let mut answer = [0; 7];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"anyone?", "what was held back comes late, and whole");
    }
}

#[tokio::test(start_paused = true)]
async fn each_piece_is_delayed_in_both_directions() {
    let proxy = proxy().await;
    let mut client = connected(&proxy).await;
    proxy.set(Fault::Delay(DAY));
    let start = Instant::now();
    assert_eq!(ask(&mut client, b"late").await.unwrap(), b"late");
    assert!(start.elapsed() >= 2 * DAY);
}

#[tokio::test]
async fn a_delayed_piece_goes_on_when_the_fault_changes() {
    let proxy = proxy().await;
    let mut client = connected(&proxy).await;
    proxy.set(Fault::Delay(DAY));
    client.write_all(b"soon").await.unwrap();
    proxy.set(Fault::None);
    let mut answer = [0; 4];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"soon");
}

#[tokio::test]
async fn a_connection_is_cut_after_so_many_bytes() {
    let proxy = proxy().await;
    let mut present = connected(&proxy).await;
    proxy.set(Fault::CutAfter(6));
    let mut future = TcpStream::connect(proxy.address()).await.unwrap();
    for client in [&mut present, &mut future] {
        assert_eq!(ask(client, b"1234").await.unwrap(), b"1234");
        client.write_all(b"5678").await.unwrap();
        assert_eq!(rest(client).await.unwrap(), b"56");
    }
    proxy.set(Fault::CutAfter(0));
    assert_eq!(silent(&proxy).await.unwrap(), b"");
}

#[tokio::test]
async fn one_bit_of_each_connection_is_flipped() {
    let proxy = proxy().await;
    let mut present = connected(&proxy).await;
    proxy.set(Fault::FlipBit { at: 5 });
    let mut future = TcpStream::connect(proxy.address()).await.unwrap();
    for client in [&mut present, &mut future] {
        assert_eq!(ask(client, &[0; 4]).await.unwrap(), [0; 4]);
        assert_eq!(ask(client, &[0; 4]).await.unwrap(), [0, 1, 0, 0]);
        assert_eq!(ask(client, &[0; 4]).await.unwrap(), [0; 4]);
    }
    proxy.set(Fault::FlipBit { at: 0 });
    assert_eq!(
        ask(&mut present, &[0; 2]).await.unwrap(),
        [1, 0],
        "counted afresh"
    );
}

#[tokio::test]
async fn a_cut_drops_present_connections_only() {
    let proxy = proxy().await;
    let mut clients = [connected(&proxy).await, connected(&proxy).await];
    proxy.cut();
    for client in &mut clients {
        assert_eq!(rest(client).await.unwrap(), b"");
    }
    connected(&proxy).await;
}

#[tokio::test]
async fn another_upstream_serves_future_connections_at_the_same_address() {
    let proxy = proxy().await;
    let mut present = connected(&proxy).await;
    proxy.retarget(echo(1).await);
    let mut future = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut future, &[6, 8]).await.unwrap(), [7, 9]);
    assert_eq!(ask(&mut present, &[6, 8]).await.unwrap(), [6, 8]);
}

#[tokio::test]
async fn an_upstream_that_is_down_closes_the_connection() {
    let down = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = down.local_addr().unwrap();
    drop(down);
    assert_eq!(silent(&FaultProxy::start(address).await).await.unwrap(), b"");
}

#[tokio::test]
async fn dropping_the_proxy_ends_its_connections() {
    let proxy = proxy().await;
    let mut present = connected(&proxy).await;
    let mut stalled = connected(&proxy).await;
    proxy.set(Fault::Stall);
    stalled.write_all(b"held back").await.unwrap();
    drop(proxy);
    for client in [&mut present, &mut stalled] {
        // An end or a reset: what was not read is lost with the proxy.
        assert_eq!(rest(client).await.unwrap_or_default(), b"");
    }
}

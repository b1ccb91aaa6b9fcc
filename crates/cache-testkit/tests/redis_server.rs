//! A private Redis answers, stands still, dies and comes back empty.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use cache_testkit::RedisServer;

/// Sends an inline command on a new connection and returns the first line of the answer.
fn command(server: &RedisServer, command: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(server.address())?;
    connection.set_read_timeout(Some(Duration::from_millis(200)))?;
    writeln!(connection, "{command}")?;
    let mut line = String::new();
    BufReader::new(connection).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

#[test]
fn servers_are_private_and_take_arguments() {
    let (a, b) = (RedisServer::start(&[]), RedisServer::start(&["--databases", "1"]));
    assert_eq!(a.url(), format!("redis://{}", a.address()));
    assert_eq!(command(&a, "SET key a").unwrap(), "+OK");
    assert_eq!(command(&b, "EXISTS key").unwrap(), ":0");
    assert_eq!(command(&a, "SELECT 1").unwrap(), "+OK");
    assert_eq!(command(&b, "SELECT 1").unwrap(), "-ERR DB index is out of range");
}

#[test]
fn a_killed_server_refuses_and_comes_back_empty_at_its_address() {
    let mut server = RedisServer::start(&[]);
    let address = server.address();
    assert_eq!(command(&server, "SET key value").unwrap(), "+OK");
    server.kill();
    assert_eq!(
        command(&server, "PING").unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    server.restart();
    assert_eq!(server.address(), address);
    assert_eq!(command(&server, "EXISTS key").unwrap(), ":0");
}

#[test]
fn a_stalled_server_accepts_but_does_not_answer_until_it_is_resumed() {
    let server = RedisServer::start(&[]);
    server.stall();
    let silence = command(&server, "PING").unwrap_err();
    assert!(
        matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{silence}"
    );
    server.resume();
    assert_eq!(command(&server, "PING").unwrap(), "+PONG");
}

#[test]
fn a_stalled_server_can_be_restarted() {
    let mut server = RedisServer::start(&[]);
    server.stall();
    server.restart();
    assert_eq!(command(&server, "PING").unwrap(), "+PONG");
}

#[test]
fn a_dropped_server_is_gone() {
    let server = RedisServer::start(&[]);
    let address = server.address();
    drop(server);
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

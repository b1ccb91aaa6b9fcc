//! Ports for servers that must be told theirs.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, Result};

/// Between the choice of a port and its use by the server, another process may take it.
const TRIES: usize = 5;

/// Starts a server on ports of loopback that were free a moment ago, and on others where that fails.
pub(crate) fn start_on<const PORTS: usize, T>(mut start: impl FnMut([u16; PORTS]) -> Result<T>) -> Result<T> {
    let mut started = start(free()?);
    for _ in 1..TRIES {
        if started.is_ok() {
            break;
        }
        started = start(free()?);
    }
    started.with_context(|| format!("tried {TRIES} times, on ports that were free"))
}

/// Different ports that nobody listens on.
fn free<const PORTS: usize>() -> Result<[u16; PORTS]> {
    let mut ports = [0; PORTS];
    // All are held until all are found, so that none is found twice.
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn another_port_is_tried_but_not_for_ever() {
        let mut tried = Vec::new();
        let started = start_on(|[first, second]| {
            assert_ne!(first, second);
            tried.push(first);
            if tried.len() < 3 {
                bail!("taken")
            }
            Ok(first)
        });
        assert_eq!(started.unwrap(), tried[2]);

        let mut tries = 0;
        let failed = start_on(|[_]| -> Result<()> {
            tries += 1;
            bail!("taken")
        });
        assert!(failed.is_err());
        assert_eq!(tries, TRIES);
    }
}

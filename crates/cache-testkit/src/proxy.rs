//! The proxy: accepting, and the orders that connections follow.

mod connection;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::Fault;

/// A TCP proxy on loopback in front of any address.
///
/// It runs on the runtime it was started on, and ends with all its connections when it is dropped. Connections that are
/// there see a change of the [`Fault`] at once, as do those to come.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    counters: Arc<Counters>,
    acceptor: AbortHandle,
}

/// What has gone through a [`FaultProxy`] so far, over all its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Connections accepted.
    pub connections: u64,
    /// Bytes handed to clients.
    pub from_upstream: u64,
    /// Bytes handed to the upstream.
    pub to_upstream: u64,
}

/// What the connections are to do at the moment.
#[derive(Debug, Clone)]
struct Orders {
    fault: Fault,
    /// How many times the fault was set.
    version: u64,
    /// How many times all connections were cut.
    cuts: u64,
    upstream: SocketAddr,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    from_upstream: AtomicU64,
    to_upstream: AtomicU64,
}

impl FaultProxy {
    /// Starts a proxy on a port that the system chooses, without a fault.
    ///
    /// # Panics
    /// When loopback gives no port.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port of loopback");
        let address = listener.local_addr().expect("the address of a listener");
        let (orders, _) = watch::channel(Orders {
            fault: Fault::None,
            version: 0,
            cuts: 0,
            upstream,
        });
        let counters = Arc::new(Counters::default());
        let acceptor = accept(listener, orders.subscribe(), Arc::clone(&counters));
        Self {
            address,
            orders,
            counters,
            acceptor: tokio::spawn(acceptor).abort_handle(),
        }
    }

    /// Where clients connect to; the same for the life of the proxy.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the fault, of present and of future connections.
    pub fn set(&self, fault: Fault) {
        self.orders.send_modify(|orders| {
            orders.fault = fault;
            orders.version += 1;
        });
    }

    /// Closes all present connections.
    pub fn cut(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }

    /// Points future connections at another upstream. Present ones keep theirs.
    pub fn retarget(&self, upstream: SocketAddr) {
        self.orders.send_modify(|orders| orders.upstream = upstream);
    }

    /// What has gone through so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            connections: self.counters.connections.load(Ordering::SeqCst),
            from_upstream: self.counters.from_upstream.load(Ordering::SeqCst),
            to_upstream: self.counters.to_upstream.load(Ordering::SeqCst),
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // The acceptor owns the connections.
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, orders: watch::Receiver<Orders>, counters: Arc<Counters>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted: io::Result<_> = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        // A client that has gone before it was accepted is no fault of the listener.
        let Ok((client, _)) = accepted else { continue };
        counters.connections.fetch_add(1, Ordering::SeqCst);
        connections.spawn(connection::run(client, orders.clone(), Arc::clone(&counters)));
    }
}

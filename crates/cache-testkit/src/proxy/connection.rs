//! One connection through the proxy: two pumps that look at the orders before each piece, and an eye on orders to close.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Counters, Orders};
use crate::Fault;

const PIECE: usize = 64 * 1024;

/// Serves `client` until either side, or an order, ends the connection. Orders are watched from this call on, not from
/// the first poll: a connection that was accepted before a cut is cut.
pub(super) fn run(
    mut client: TcpStream,
    orders: watch::Receiver<Orders>,
    counters: Arc<Counters>,
) -> impl Future<Output = ()> + Send {
    let cuts = orders.borrow().cuts;
    async move {
        let closing = closing(orders.clone(), cuts);
        let reset = {
            let relay = pin!(relay(&mut client, orders, &counters));
            tokio::select! {
                biased;
                fault = closing => fault == Fault::Reset,
                // However it ends, both sides are closed.
                _ = relay => false,
            }
        };
        if reset {
            // Fails only when the client is gone, and needs no reset.
            let _: io::Result<()> = client.set_zero_linger();
        }
    }
}

/// Waits for an order to close, and returns the fault at that moment.
async fn closing(mut orders: watch::Receiver<Orders>, cuts: u64) -> Fault {
    let order = orders
        .wait_for(|orders| orders.cuts != cuts || matches!(orders.fault, Fault::Refuse | Fault::Reset))
        .await;
    order.map_or(Fault::None, |orders| orders.fault.clone())
}

async fn relay(
    client: &mut TcpStream,
    mut orders: watch::Receiver<Orders>,
    counters: &Counters,
) -> io::Result<()> {
    let address = moving(&mut orders).await?.upstream;
    let mut upstream = TcpStream::connect(address).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_upstream, to_upstream) = upstream.split();
    let down = Pump::new(
        from_upstream,
        to_client,
        orders.clone(),
        &counters.from_upstream,
        true,
    );
    let up = Pump::new(from_client, to_upstream, orders, &counters.to_upstream, false);
    tokio::try_join!(down.run(), up.run())?;
    Ok(())
}

/// One direction of a connection.
struct Pump<'a, R, W> {
    reader: R,
    writer: W,
    orders: watch::Receiver<Orders>,
    counter: &'a AtomicU64,
    /// Whether faults that count bytes are for this direction.
    spoils: bool,
    /// The version of the fault that `passed` counts for.
    version: u64,
    /// Bytes that have passed since that fault was set.
    passed: u64,
}

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Pump<'a, R, W> {
    fn new(
        reader: R,
        writer: W,
        orders: watch::Receiver<Orders>,
        counter: &'a AtomicU64,
        spoils: bool,
    ) -> Self {
        Self {
            reader,
            writer,
            orders,
            counter,
            spoils,
            version: 0,
            passed: 0,
        }
    }

    /// Pumps until the reader ends, which ends the writer; an error ends the whole connection.
    async fn run(mut self) -> io::Result<()> {
        let mut buffer = vec![0; PIECE];
        loop {
            let fault = self.moving().await?;
            if self.spoils && fault.cuts_at(self.passed) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let length = tokio::select! {
                biased;
                changed = self.orders.changed() => {
                    changed.map_err(io::Error::other)?;
                    continue;
                }
                length = self.reader.read(&mut buffer) => length?,
            };
            let fault = self.held_back().await?;
            if length == 0 {
                return self.writer.shutdown().await;
            }
            let piece = &mut buffer[..length];
            let passes = if self.spoils {
                fault.spoil(self.passed, piece)
            } else {
                length
            };
            self.forward(&piece[..passes]).await?;
            if passes < length {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
    }

    /// Waits until bytes may move, and returns the fault to apply to them.
    async fn moving(&mut self) -> io::Result<Fault> {
        let orders = moving(&mut self.orders).await?;
        if self.version != orders.version {
            (self.version, self.passed) = (orders.version, 0);
        }
        Ok(orders.fault)
    }

    /// Holds a piece back for as long as the fault says, which may change meanwhile.
    async fn held_back(&mut self) -> io::Result<Fault> {
        loop {
            let fault = self.moving().await?;
            let Fault::Delay(delay) = fault else {
                return Ok(fault);
            };
            tokio::select! {
                biased;
                changed = self.orders.changed() => changed.map_err(io::Error::other)?,
                () = sleep(delay) => return Ok(fault),
            }
        }
    }

    /// Writes `piece`, stopping in the middle of it where the orders change.
    async fn forward(&mut self, mut piece: &[u8]) -> io::Result<()> {
        while !piece.is_empty() {
            self.moving().await?;
            tokio::select! {
                biased;
                changed = self.orders.changed() => changed.map_err(io::Error::other)?,
                written = self.writer.write(piece) => {
                    let written = written?;
                    piece = &piece[written..];
                    self.passed += written as u64;
                    self.counter.fetch_add(written as u64, Ordering::SeqCst);
                }
            }
        }
        Ok(())
    }
}

/// Waits until the orders let bytes move, and returns them.
async fn moving(orders: &mut watch::Receiver<Orders>) -> io::Result<Orders> {
    let moving = orders.wait_for(|orders| orders.fault != Fault::Stall).await;
    moving.map(|orders| orders.clone()).map_err(io::Error::other)
}

//! The connections of a tier, and requests over them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cache_core::{Digest, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use redis::{Cmd, FromRedisValue, RedisError, RedisResult};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::failure::{failure, no_answer, task_failed};
use crate::keys;
use crate::servers::{Address, Connection, Servers};

/// Connections for chunks. One would do for a fast network; several keep a processor from being the limit under TLS.
const BULK: usize = 3;
/// Keys of one request.
const KEYS_PER_REQUEST: usize = 1024;
/// Small requests sent before the first is answered.
const PIPELINED: usize = 64;

/// Connections, made at first use. A small request must not wait behind megabytes of chunks, so it has a connection of its own.
#[derive(Debug)]
pub(crate) struct Connections {
    servers: Servers,
    timeout: Duration,
    metadata: Slot,
    bulk: [Slot; BULK],
    next: AtomicUsize,
}

/// Where a connection is, or will be. One caller makes it, and the others wait for it; when it is cancelled or fails, the next one
/// tries. A std mutex: held to clone or to replace the cell.
#[derive(Debug, Default)]
struct Slot(Mutex<Cell>);

type Cell = Arc<OnceCell<Connection>>;

impl Slot {
    fn current(&self) -> Cell {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives up the connection in `cell`, unless it was replaced already; whether it was not. Requests that are on it may still
    /// be answered.
    fn give_up(&self, cell: &Cell) -> bool {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = Arc::ptr_eq(&current, cell);
        if is_current {
            *current = Cell::default();
        }
        is_current
    }
}

/// What the answer to a request is made into.
pub(crate) trait Answer: FromRedisValue + Send + 'static {}

impl<T: FromRedisValue + Send + 'static> Answer for T {}

#[derive(Clone, Copy, Debug)]
enum Use {
    Metadata,
    Bulk,
}

impl Connections {
    pub(crate) fn new(servers: Servers, timeout: Duration) -> Self {
        Self {
            servers,
            timeout,
            metadata: Slot::default(),
            bulk: Default::default(),
            next: AtomicUsize::new(0),
        }
    }

    pub(crate) fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Makes a small request.
    pub(crate) async fn ask<T: Answer>(self: &Arc<Self>, request: Cmd) -> Result<T> {
        self.spawn(Use::Metadata, request, None).await
    }

    /// Makes a small request to one node of a cluster.
    pub(crate) async fn ask_node<T: Answer>(self: &Arc<Self>, request: Cmd, node: Address) -> Result<T> {
        self.spawn(Use::Metadata, request, Some(node)).await
    }

    /// Makes a request that moves a chunk.
    pub(crate) async fn transfer<T: Answer>(self: &Arc<Self>, request: Cmd) -> Result<T> {
        self.spawn(Use::Bulk, request, None).await
    }

    /// Runs a request in a task of its own, which ends with the future. A reader may leave a request that it has begun unpolled for
    /// as long as it likes: that must not hold up whoever waits for the same connection, nor for a turn on it.
    async fn spawn<T: Answer>(self: &Arc<Self>, slot: Use, request: Cmd, node: Option<Address>) -> Result<T> {
        let connections = Arc::clone(self);
        let task = async move {
            let slot = match slot {
                Use::Metadata => &connections.metadata,
                Use::Bulk => &connections.bulk[connections.next.fetch_add(1, Ordering::Relaxed) % BULK],
            };
            connections.request(slot, &request, node.as_ref()).await
        };
        AbortOnDropHandle::new(tokio::spawn(task))
            .await
            .map_err(task_failed)?
    }

    /// Takes one connection, and at most one time-out, which includes connecting.
    async fn request<T: FromRedisValue>(
        &self,
        slot: &Slot,
        request: &Cmd,
        node: Option<&Address>,
    ) -> Result<T> {
        let mut cell = slot.current();
        let answer = timeout(self.timeout, async {
            let idle = cell.initialized();
            let mut answer = self.attempt(&cell, request, node).await;
            if idle && answer.as_ref().is_err_and(is_lost) {
                // Only its use tells that the server has closed a connection, as a restart does. Repeating is safe: every
                // request of the tier may be executed twice.
                slot.give_up(&cell);
                cell = slot.current();
                answer = self.attempt(&cell, request, node).await;
            }
            answer
        });
        match answer.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if is_lost(&error) {
                    slot.give_up(&cell);
                }
                Err(failure(error))
            }
            Err(_) => {
                if slot.give_up(&cell) {
                    self.give_up_all();
                }
                Err(no_answer(self.timeout))
            }
        }
    }

    /// The peer may have vanished, which nothing tells but a time-out: all connections together cost one.
    fn give_up_all(&self) {
        for slot in self.bulk.iter().chain([&self.metadata]) {
            slot.give_up(&slot.current());
        }
    }

    async fn attempt<T: FromRedisValue>(
        &self,
        cell: &Cell,
        request: &Cmd,
        node: Option<&Address>,
    ) -> RedisResult<T> {
        let connection = cell.get_or_try_init(|| self.servers.connect()).await?;
        connection.clone().send(request, node).await
    }

    /// How many of the first `count` chunks of a layer the command (EXISTS, UNLINK) says it has found.
    pub(crate) async fn count_chunks(
        self: &Arc<Self>,
        command: &str,
        digest: &Digest,
        count: usize,
    ) -> Result<usize> {
        let mut found = 0;
        for first in (0..count).step_by(KEYS_PER_REQUEST) {
            let mut request = redis::cmd(command);
            for chunk in first..count.min(first + KEYS_PER_REQUEST) {
                request.arg(keys::chunk(digest, chunk));
            }
            found += self.ask::<usize>(request).await?;
        }
        Ok(found)
    }

    /// Makes many small requests, in no particular order, of which a bounded number is under way at once.
    pub(crate) async fn ask_all(self: &Arc<Self>, requests: impl Iterator<Item = Cmd>) -> Result<()> {
        stream::iter(requests)
            .map(|request| async move { self.ask::<redis::Value>(request).await.map(drop) })
            .buffer_unordered(PIPELINED)
            .try_collect()
            .await
    }
}

/// Whether an error means that its connection is of no more use.
fn is_lost(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

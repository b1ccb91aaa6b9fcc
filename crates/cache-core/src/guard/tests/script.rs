//! A policy that makes a source fail, stall or panic.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::*;

/// What becomes of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Work,
    Fail(ErrorKind),
    /// It fails late.
    FailAfter(Duration),
    WorkAfter(Duration),
    Stall,
    Panic,
}

/// What becomes of the operations, in the order in which they begin; behind the last act, all of them work.
#[derive(Clone, Debug, Default)]
pub(super) struct Script(Arc<State>);

#[derive(Debug, Default)]
struct State {
    acts: Mutex<VecDeque<Act>>,
    asked: Mutex<Vec<Operation>>,
    running: AtomicUsize,
    most_running: AtomicUsize,
}

impl Script {
    fn acts(&self) -> MutexGuard<'_, VecDeque<Act>> {
        self.0.acts.lock().unwrap()
    }

    /// Replaces what is left of the acts.
    pub(super) fn then(&self, acts: impl IntoIterator<Item = Act>) {
        *self.acts() = acts.into_iter().collect();
    }

    pub(super) fn fail(&self, times: usize) {
        self.then(vec![Act::Fail(ErrorKind::Unavailable); times]);
    }

    /// The operations since this was asked last.
    pub(super) fn asked(&self) -> Vec<Operation> {
        std::mem::take(&mut self.0.asked.lock().unwrap())
    }

    pub(super) fn running(&self) -> usize {
        self.0.running.load(Ordering::SeqCst)
    }

    /// The most operations that were under way at once.
    pub(super) fn most_running(&self) -> usize {
        self.0.most_running.load(Ordering::SeqCst)
    }
}

struct Running<'a>(&'a State);

impl<'a> Running<'a> {
    fn enter(state: &'a State) -> Self {
        let running = state.running.fetch_add(1, Ordering::SeqCst) + 1;
        state.most_running.fetch_max(running, Ordering::SeqCst);
        Self(state)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Policy for Script {
    async fn run<T: Answer>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.0.asked.lock().unwrap().push(operation);
        let act = self.acts().pop_front().unwrap_or(Act::Work);
        let _running = Running::enter(&self.0);
        let error = |kind| Err(Error::new(kind, "the connection was cut"));
        match act {
            Act::Work => work.await,
            Act::Fail(kind) => error(kind),
            Act::FailAfter(delay) => {
                tokio::time::sleep(delay).await;
                error(ErrorKind::Unavailable)
            }
            Act::WorkAfter(delay) => {
                tokio::time::sleep(delay).await;
                work.await
            }
            Act::Stall => std::future::pending().await,
            Act::Panic => panic!("the script says so"),
        }
    }
}

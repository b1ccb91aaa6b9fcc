//! Tasks and blocking threads, which are the same here: each has a stack of its own.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;

/// What the code under test may panic with: it ends the task and nothing else, as any panic does under Tokio. Every other
/// panic fails the story.
#[derive(Debug)]
pub struct PlannedPanic;

impl PlannedPanic {
    pub fn throw() -> ! {
        resume_unwind(Box::new(Self))
    }
}

type Ended<T> = Result<T, Box<dyn Any + Send>>;

#[derive(Debug)]
pub struct JoinHandle<T>(shuttle::future::JoinHandle<Ended<T>>);

/// The task has panicked or was aborted.
#[derive(Debug)]
pub struct JoinError;

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task has panicked or was aborted")
    }
}

impl std::error::Error for JoinError {}

pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    JoinHandle(shuttle::future::spawn(async {
        let ended = AssertUnwindSafe(future).catch_unwind().await;
        ended.map_err(|panic| {
            if !panic.is::<PlannedPanic>() {
                resume_unwind(panic);
            }
            panic
        })
    }))
}

pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn(async { work() })
}

impl<T> JoinHandle<T> {
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(self.0.poll_unpin(context)) {
            Ok(Ok(output)) => Ok(output),
            _ => Err(JoinError),
        })
    }
}

#[derive(Debug)]
pub struct AbortOnDropHandle<T>(JoinHandle<T>);

impl<T> AbortOnDropHandle<T> {
    pub fn new(task: JoinHandle<T>) -> Self {
        Self(task)
    }
}

impl<T> Drop for AbortOnDropHandle<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A thread's way back to tasks.
#[derive(Clone, Debug)]
pub struct Handle;

impl Handle {
    pub fn current() -> Self {
        Self
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        shuttle::future::block_on(future)
    }
}

/// Every point is a chance for others to run.
pub async fn consume_budget() {}

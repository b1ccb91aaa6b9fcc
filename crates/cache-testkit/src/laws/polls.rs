//! Cancelling a future at each of its awaits.

use std::future::poll_fn;
use std::task::Poll;

/// Most cuts of one operation that are tried.
const MAX_POLLS: usize = 400;

/// Where a future is cancelled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    polls: usize,
    /// Whether what it waits for has come by then, unseen.
    woken: bool,
}

impl Cut {
    /// After so many polls, as soon as it waits.
    pub(super) fn at_once(polls: usize) -> Self {
        Self { polls, woken: false }
    }

    /// Polls `work` that many times, each after it was woken, and drops it; what it returned, if that was earlier.
    pub(super) async fn run<F: Future>(self, work: F) -> Option<F::Output> {
        let mut work = Box::pin(work);
        let mut left = self.polls;
        poll_fn(move |context| {
            if left == 0 {
                return Poll::Ready(None);
            }
            left -= 1;
            match work.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if left == 0 && !self.woken => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Every cut, until `done` says that the operation came to its end before it: 0, 1, 2, ... polls, further apart where there
    /// are many.
    pub(super) async fn each(mut done: impl AsyncFnMut(Self) -> bool) {
        let mut polls = 0;
        while polls <= MAX_POLLS {
            let at_once = done(Self::at_once(polls)).await;
            let woken = polls > 0 && done(Self { polls, woken: true }).await;
            if at_once && woken {
                return;
            }
            polls += 1 + polls / 12;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_await_is_cut_once_before_and_once_after_it_is_woken() {
        let mut reached = Vec::new();
        Cut::each(async |cut| {
            let mut steps = 0;
            let done = cut.run(async {
                for _ in 0..3 {
                    steps += 1;
                    tokio::task::yield_now().await;
                }
            });
            let done = done.await.is_some();
            reached.push((steps, done));
            done
        })
        .await;
        let expected = [0, 1, 1, 2, 2, 3, 3, 3, 3].map(|steps| (steps, false));
        assert_eq!(reached[..7], expected[..7]);
        assert_eq!(reached[7..], [(3, true), (3, true)]);
    }
}

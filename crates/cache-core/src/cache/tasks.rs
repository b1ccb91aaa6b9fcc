//! Counting the tasks that a cache waits for.

use std::sync::Arc;

use crate::runtime::watch;

/// How many tasks are at work or wait their turn.
#[derive(Clone, Debug)]
pub(super) struct Tasks(Arc<watch::Sender<usize>>);

impl Default for Tasks {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Tasks {
    /// Counts one more task, unless there are `most` already.
    pub(super) fn begin(&self, most: usize) -> Option<Running> {
        let admitted = self.0.send_if_modified(|running| {
            let admitted = *running < most;
            *running += usize::from(admitted);
            admitted
        });
        admitted.then(|| Running(self.clone()))
    }

    pub(super) async fn idle(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|&running| running == 0).await;
    }
}

/// Counts one task for as long as it lives, however it ends.
#[derive(Debug)]
pub(super) struct Running(Tasks);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.send_modify(|running| *running -= 1);
    }
}

/// Told by `cargo xtask schedules` under every schedule there is.
#[cfg(all(test, shuttle))]
mod stories {
    use scheduled::{exhaust, spawn};

    use super::*;

    #[test]
    fn whoever_waits_for_tasks_sees_the_last_one_end() {
        exhaust(|| async {
            let tasks = Tasks::default();
            let running = [1, 2].map(|most| tasks.begin(most).unwrap());
            assert!(tasks.begin(2).is_none());
            for running in running {
                spawn(async { drop(running) });
            }
            tasks.idle().await;
            assert!(tasks.begin(1).is_some());
        });
    }
}

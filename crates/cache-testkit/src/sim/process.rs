//! Who uses a simulated source.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::watch;

/// A process on one of several hosts. Once it is killed none of its calls returns, and what it held counts no more: as a kernel
/// sees to it, without any destructor. Clones are the same process.
#[derive(Clone, Debug)]
pub struct Process(Arc<Life>);

#[derive(Debug)]
struct Life {
    host: usize,
    killed: watch::Sender<bool>,
}

impl Process {
    /// A new process on this host.
    pub fn on(host: usize) -> Self {
        let killed = watch::Sender::new(false);
        Self(Arc::new(Life { host, killed }))
    }

    /// The host it runs on.
    pub fn host(&self) -> usize {
        self.0.host
    }

    /// Ends it where it is.
    pub fn kill(&self) {
        self.0.killed.send_replace(true);
    }

    /// Whether it was not killed.
    pub fn is_alive(&self) -> bool {
        !*self.0.killed.borrow()
    }

    /// Waits until it is killed.
    pub async fn killed(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.killed.subscribe().wait_for(|&killed| killed).await;
    }

    /// Goes no further once it was killed.
    pub(crate) async fn live(&self) {
        if !self.is_alive() {
            pending().await
        }
    }
}

impl PartialEq for Process {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

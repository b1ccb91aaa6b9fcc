//! Async code in a property.

use std::time::Duration;

/// Far beyond what any input takes: what does not end until then hangs.
const HANG: Duration = Duration::from_secs(60);

/// Runs `future` on a runtime of its own. Panics when it hangs.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        // A timer needs the runtime it is made on.
        .block_on(async { tokio::time::timeout(HANG, future).await })
        .expect("it hangs")
}

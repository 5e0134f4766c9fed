//! The shared tier: one conformance suite that every backend passes, real servers, and servers that misbehave.

mod conformance;
mod faults;
mod proxy;
mod redis;
mod server;

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout};

/// Waits until `condition` gives a value.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        // An attempt that never ends fails like one that gives nothing.
        if let Ok(Some(value)) = timeout(Duration::from_secs(5), condition()).await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

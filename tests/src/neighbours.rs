//! Does what one tenant does slow another's requests?
//!
//! The same traffic of the other tenant is measured twice in a row: while the first tenant asks what it usually does as
//! fast as it can, and while it asks what disturbs. So what is compared is the disturbance, not the load. The 99th percentile may grow by a fifth, and by [`ALLOWANCE`]: the machine is shared with databases, clients
//! and other work, whose noise only ever adds. So a disturbance gets a few tries and must stay within the bound in
//! one of them; what really harms does so in each. Every request of every try must succeed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{Gateway, Traffic, until};

/// What the 99th percentile may grow by besides a fifth.
pub const ALLOWANCE: Duration = Duration::from_millis(5);
const TRIES: usize = 6;
/// Of five requests, by each client.
const ROUNDS: u64 = 10;

/// Insists that `traffic` fails in nothing, and is hardly slower while `disturb` is called again and again than while
/// `usual` is.
///
/// # Panics
/// If it is.
pub async fn unharmed<U, D>(
    gateway: &Gateway,
    traffic: &Traffic,
    what: &str,
    usual: impl Fn() -> U + Clone + Send + 'static,
    disturb: impl Fn() -> D + Clone + Send + 'static,
) where
    U: Future<Output = ()> + Send,
    D: Future<Output = ()> + Send,
{
    let mut measured = Vec::new();
    for _ in 0..TRIES {
        let quiet = beside(gateway, traffic, usual.clone()).await;
        let disturbed = beside(gateway, traffic, disturb.clone()).await;
        if disturbed <= quiet + quiet / 5 + ALLOWANCE {
            return;
        }
        measured.push((quiet, disturbed));
    }
    panic!("{what}: the 99th percentile without and with it: {measured:?}");
}

/// The 99th percentile of the traffic while `other` is called again and again.
async fn beside<F: Future<Output = ()> + Send>(
    gateway: &Gateway,
    traffic: &Traffic,
    other: impl Fn() -> F + Send + 'static,
) -> Duration {
    let other = Repeated::start(other);
    other.goes_on().await;
    let p99 = traffic.rounds(gateway, ROUNDS).await.flawless().p99();
    other.end().await;
    p99
}

struct Repeated {
    stop: Arc<AtomicBool>,
    times: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Repeated {
    fn start<F: Future<Output = ()> + Send>(what: impl Fn() -> F + Send + 'static) -> Self {
        let (stop, times) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let task = tokio::spawn({
            let (stop, times) = (stop.clone(), times.clone());
            async move {
                while !stop.load(Ordering::Relaxed) {
                    what().await;
                    times.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, times, task }
    }

    async fn goes_on(&self) {
        let begun =
            || std::future::ready((self.times.load(Ordering::Relaxed) > 0 || self.task.is_finished()).then_some(()));
        until("the other tenant has begun", begun).await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the other tenant is answered as it should be");
    }
}

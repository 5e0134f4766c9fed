//! The harness of the black-box scenarios in `tests/tests/`: real PostgreSQL, real `tidegate`
//! processes, real sockets. Everything is torn down on drop, also after a panic.
//!
//! # Layout
//! - [`World`]: shards with the storefront schema, a gateway in front, a client. What most scenarios start with
//! - [`shards`]: PostgreSQL clusters, what they were asked, and how to disturb them
//! - [`schema`]: the tables and their seeded rows
//! - [`config`]: the generated `tidegate.toml`
//! - [`gateway`]: a `tidegate` process: addresses, log, signals
//! - [`redis`]: a `redis-server`
//! - [`gateways`]: several of them, and clients of all
//! - [`journal`]: write-behind carts, and what became of what was acknowledged
//! - [`client`]: a pooled HTTP/1.1 client and the answers it gets
//! - [`wire`]: a socket for bytes that no HTTP client would send
//! - [`operator`]: orders on the operator's listener
//! - [`policies`]: guests, and folders of policies
//! - [`load`]: clients that read and write all the time and check everything
//! - [`neighbours`]: does what one tenant does slow another's requests?
//! - [`metrics`]: reading `/metrics`
//! - [`proxy`]: a network that delays, trickles, stalls and cuts
//! - [`soak`]: clients, disasters and the history checker on real processes
//! - [`behind`]: write-behind while everything fails, and what became of each write
//! - [`history`]: is a record of concurrent reads and writes linearizable? A crate of its own, shared with the simulation

pub mod behind;
pub mod client;
pub mod config;
pub mod gateway;
pub mod gateways;
pub mod journal;
pub mod load;
pub mod machine_limit;
pub mod metrics;
pub mod neighbours;
pub mod operator;
pub mod policies;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod schema;
pub mod shards;
pub mod soak;
pub mod wire;
pub mod world;

use std::{
    future::Future,
    net::{Ipv4Addr, TcpListener},
    time::{Duration, Instant},
};

pub use tidegate_history as history;

pub use client::{Answer, Client};
pub use config::Config;
pub use gateway::Gateway;
pub use gateways::{Crowd, Gateways};
pub use load::{Load, Tally, Traffic};
pub use operator::Operator;
pub use redis::Redis;
pub use shards::Shards;
pub use world::World;

/// How long a condition may take to come true on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A port of this machine that nobody listens on now.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// Waits until `condition` gives a value.
///
/// # Panics
/// If it has given none for [`PATIENCE`]; the message contains `what`.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

//! The harness of the black-box scenarios in `tests/tests/`: real PostgreSQL, real `tidegate`
//! processes, real sockets. Everything is torn down on drop, also after a panic.
//!
//! # Layout
//! - [`World`]: shards with the storefront schema, a gateway in front, a client. What most scenarios start with
//! - [`shards`]: PostgreSQL clusters, what they were asked, and how to disturb them
//! - [`schema`]: the tables and their seeded rows
//! - [`config`]: the generated `tidegate.toml`
//! - [`gateway`]: a `tidegate` process: addresses, log, signals
//! - [`client`]: a pooled HTTP/1.1 client and the answers it gets
//! - [`wire`]: a socket for bytes that no HTTP client would send
//! - [`operator`]: orders on the operator's listener
//! - [`policies`]: guests, and folders of policies
//! - [`load`]: clients that read and write all the time and check everything
//! - [`neighbours`]: does what one tenant does slow another's requests?
//! - [`metrics`]: reading `/metrics`
//! - [`history`]: is a record of concurrent reads and writes linearizable?

pub mod client;
pub mod config;
pub mod gateway;
pub mod history;
pub mod load;
pub mod machine_limit;
pub mod metrics;
pub mod neighbours;
pub mod operator;
pub mod policies;
pub mod process;
pub mod schema;
pub mod shards;
pub mod wire;
pub mod world;

use std::{
    future::Future,
    time::{Duration, Instant},
};

pub use client::{Answer, Client};
pub use config::Config;
pub use gateway::Gateway;
pub use load::{Load, Tally, Traffic};
pub use operator::Operator;
pub use shards::Shards;
pub use world::World;

/// How long a condition may take to come true on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

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

//! Several gateways in front of the same shards: who must hear of a write before it is committed, and that nobody
//! serves what it has not heard of. Knows neither SQL nor the cache.
//!
//! # Layout
//! - [`cluster`]: the handle; [`raise`]: what a write does before COMMIT
//! - [`table`]: what is needed of the rest: member tables, a place to raise floors
//! - [`lease`]: when to join, to renew and to stop, without doing it; `driver` does it; [`leases`]: as requests ask
//! - `sightings`: who may be fenced, judged by this process's own [`clock`]
//! - `peer`, `listener`: connections to and from other gateways; [`connect`]: greetings
//! - [`frame`], [`seal`], [`wire`]: bytes, without I/O
//! - [`metrics`]
//!
//! # Invariants
//! - No COMMIT is sent before every member that is not fenced has raised its floors.
//! - No lease is longer than what its holder counts from before the renewal was sent.
//! - Nobody is fenced before a lease has gone by since its last beat was seen.
//! - No judgement compares clocks of two machines.
//! - No frame is read before it is known who sent it.

pub mod clock;
pub mod cluster;
pub mod connect;
mod driver;
pub mod frame;
pub mod lease;
pub mod leases;
mod listener;
pub mod metrics;
pub mod peer;
pub mod raise;
pub mod seal;
mod sightings;
pub mod table;
pub mod wire;

pub use cluster::{Bound, Cluster, ClusterError, MemberState, Setup};
pub use leases::Leases;
pub use raise::{Intent, Unheard};

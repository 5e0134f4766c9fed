//! The store: shards, pools, SQL. Never sees the cache.
//!
//! # Layout
//! - [`store`]: the handle everything goes through
//! - [`error`] and `sqlstate`: what can go wrong, and what a client is told of it
//! - `shard`, `pool`, `connection`: verified connections by class; `gate` keeps a dead shard cheap,
//!   `identity` notices that a shard's URL leads somewhere else
//! - [`catalog`]: what `pg_catalog` says, and collections resolved against it
//! - `sql`: statements; everything a client sent is a bound parameter
//! - `loader`: keyed reads, batched
//! - `list`: lists, merged over shards
//! - [`directory`]: small tables that policies look things up in
//! - [`mod@write`]: writes up to COMMIT, and COMMIT
//! - [`metrics`]
//!
//! # Invariants
//! - A connection is verified before its first use, and an epoch it ends is ended before that.
//! - A snapshot and the rows it is handed out with come from one statement.
//! - A connection returns to its pool only when nothing is pending on it.

pub mod catalog;
mod connection;
pub mod directory;
pub mod error;
mod gate;
mod identity;
mod list;
mod loader;
pub mod metrics;
pub mod pool;
mod shard;
mod sql;
mod sqlstate;
pub mod store;
mod wire;
pub mod write;

pub use error::StoreError;
pub use store::{ListRows, LoadedRow, PoolState, Reachable, ShardState, Store};
pub use write::{PreparedWrite, images};

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
//! - [`mod@feed`]: what changed, told by logical replication
//! - [`mod@write`]: writes up to COMMIT, and COMMIT
//! - [`mod@flush`]: what was acknowledged before the shard had it, applied; what cannot be, kept
//! - [`journal`]: the journal of class `replicated`, in a database of its own, and who owns which part of it
//! - [`values`]: rows as PostgreSQL would render them, and whether they may be acknowledged without asking it
//! - [`members`]: the gateways that must hear of a write, as a table on each primary
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
pub mod feed;
pub mod flush;
mod gate;
mod identity;
pub mod journal;
mod list;
mod loader;
pub mod members;
pub mod metrics;
pub mod pool;
mod shard;
mod sql;
mod sqlstate;
pub mod store;
pub mod values;
mod wire;
pub mod write;

pub use error::StoreError;
pub use loader::batch::Rows;
pub use members::Members;
pub use store::{Gateways, ListPart, ListRows, LoadedRow, PoolState, Reachable, ShardState, Store};
pub use write::{JournalGuard, PreparedWrite, Reread, images};

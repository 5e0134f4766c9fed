//! The store: shards, pools, SQL. Never sees the cache.

pub mod catalog;
pub mod error;
mod sqlstate;
pub mod store;

pub use error::StoreError;
pub use store::{ListRows, LoadedRow, PoolState, PreparedWrite, Reachable, ShardState, Store};

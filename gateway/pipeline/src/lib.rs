//! The pipelines: the only crate that joins cache, store and policy.
//!
//! # Layout
//! - [`gateway`]: the handle the HTTP front and the admin API hold
//! - [`gateways`]: the others in front of the same shards: member tables, floors from and to them
//! - [`dialect`]: query strings that name a list, as the HTTP front reads them
//! - [`serving`]: what is served, and how it is replaced
//! - [`mod@route`]: whose request it is, which shards it goes to, how its answer is kept
//! - [`mod@read`]: keyed reads and lists
//! - [`mod@write`]: writes, and the order that keeps the cache right: statements, floors, COMMIT, voids, reply
//! - [`behind`]: write-behind, acknowledged by the journal and brought to the shard afterwards
//! - [`mod@feed`]: changes made outside, obeyed; [`bounded`]: what the feed's age means to reads
//! - [`monitor`]: the cache compared with the shards, in production
//! - [`mod@purge`]: what an operator wants forgotten
//! - [`mod@refill`]: write-through, the rows written read again behind COMMIT
//! - [`refresh`]: rows that an invalidation policy wants fetched again
//! - [`touch`]: which buckets a write raises
//! - `values`: which of them are values that lists are told apart by
//! - [`invalidate`]: which an invalidation policy adds

pub mod behind;
pub mod bounded;
pub mod dialect;
pub mod feed;
#[cfg(test)]
mod fixture;
pub mod gateway;
pub mod gateways;
pub mod invalidate;
pub mod metrics;
pub mod monitor;
pub mod purge;
pub mod read;
pub mod refill;
pub mod refresh;
pub mod route;
pub mod serving;
pub mod touch;
mod values;
pub mod write;

pub use dialect::Dialect;
pub use feed::FeedAge;
pub use gateway::{Gateway, GatewayParts, Names, WeakGateway};
pub use serving::Serving;
pub use touch::void_collections;

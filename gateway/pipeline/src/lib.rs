//! The pipelines: the only crate that joins cache, store and policy.
//!
//! # Layout
//! - [`gateway`]: the handle the HTTP front and the admin API hold
//! - [`serving`]: what is served, and how it is replaced
//! - [`mod@route`]: whose request it is, which shards it goes to, how its answer is kept
//! - [`mod@read`]: keyed reads and lists
//! - [`mod@write`]: writes, and the order that keeps the cache right: statements, floors, COMMIT, voids, reply
//! - [`touch`]: which buckets a write raises
//! - [`invalidate`]: which an invalidation policy adds

#[cfg(test)]
mod fixture;
pub mod gateway;
pub mod invalidate;
pub mod metrics;
pub mod read;
pub mod route;
pub mod serving;
pub mod touch;
pub mod write;

pub use gateway::{Gateway, GatewayParts, Names};
pub use serving::Serving;
pub use touch::void_collections;
